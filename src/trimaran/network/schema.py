"""The network tables of the state database. Addresses are packed: 4 or 16 bytes, so that they sort."""

from __future__ import annotations

from trimaran.state import Area

AREA = Area(
    "network",
    """
CREATE TABLE network_setting (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE network (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, driver TEXT NOT NULL, interface TEXT NOT NULL,
    spec TEXT NOT NULL, created REAL NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE network_subnet (
    network_id TEXT NOT NULL REFERENCES network (id) ON DELETE CASCADE, family INTEGER NOT NULL,
    address BLOB NOT NULL, prefix INTEGER NOT NULL, gateway BLOB, first BLOB NOT NULL, last BLOB NOT NULL,
    cursor BLOB NOT NULL, PRIMARY KEY (network_id, family)) STRICT, WITHOUT ROWID;
CREATE TABLE network_container (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, resolver TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE network_endpoint (
    id TEXT PRIMARY KEY, network_id TEXT NOT NULL REFERENCES network (id),
    container_id TEXT NOT NULL REFERENCES network_container (id), position INTEGER NOT NULL,
    interface TEXT NOT NULL, host_interface TEXT NOT NULL, mac TEXT NOT NULL, ipv4 BLOB, ipv6 BLOB,
    UNIQUE (container_id, network_id), UNIQUE (network_id, ipv4), UNIQUE (network_id, ipv6),
    UNIQUE (network_id, mac)) STRICT, WITHOUT ROWID;
CREATE TABLE network_name (
    endpoint_id TEXT NOT NULL REFERENCES network_endpoint (id) ON DELETE CASCADE, name TEXT NOT NULL,
    PRIMARY KEY (name, endpoint_id)) STRICT, WITHOUT ROWID;
CREATE TABLE network_port (
    protocol TEXT NOT NULL, family INTEGER NOT NULL, host_ip BLOB NOT NULL, host_port INTEGER NOT NULL,
    container_port INTEGER NOT NULL, container_id TEXT NOT NULL,
    endpoint_id TEXT NOT NULL REFERENCES network_endpoint (id) ON DELETE CASCADE,
    PRIMARY KEY (protocol, family, host_port, host_ip)) STRICT, WITHOUT ROWID;
CREATE INDEX network_port_endpoint ON network_port (endpoint_id);
""",
    """
CREATE TABLE network_cni (
    endpoint_id TEXT PRIMARY KEY REFERENCES network_endpoint (id) ON DELETE CASCADE,
    config TEXT NOT NULL,       -- JSON: the configuration list that its plugins were called with
    arguments TEXT NOT NULL,    -- JSON: capabilities and CNI_ARGS
    result TEXT NOT NULL DEFAULT '') STRICT, WITHOUT ROWID;
ALTER TABLE network_container ADD COLUMN program TEXT NOT NULL DEFAULT '';
""",
)
