"""Who asks, and what it may know: the names on its own networks, from the state database."""

from __future__ import annotations

import json
import random
import sqlite3

from trimaran.network.dns import message
from trimaran.network.files import parse_resolv_conf

TTL = 5
"""Seconds for which an answer about a container may be kept."""


class Asker:
    """A container that asks: its servers for the rest of the world, and whether it may ask them."""

    __slots__ = ("container_id", "outside", "servers")

    def __init__(self, container_id: str, servers: tuple[str, ...], outside: bool) -> None:
        self.container_id = container_id
        self.servers = servers
        self.outside = outside


def asker(connection: sqlite3.Connection, gateway: bytes, source: bytes) -> Asker | None:
    """The container with the address ``source`` on the network whose gateway was asked; None: a stranger."""
    column = "ipv4" if len(source) == 4 else "ipv6"
    row = connection.execute(
        "SELECT c.id, c.resolver FROM network_endpoint e JOIN network_container c ON c.id = e.container_id"
        f" JOIN network_subnet s ON s.network_id = e.network_id WHERE s.gateway = ? AND e.{column} = ?",
        (gateway, source),
    ).fetchone()
    if row is None:
        return None
    outside = connection.execute(
        "SELECT 1 FROM network_endpoint e JOIN network n ON n.id = e.network_id WHERE e.container_id = ?"
        " AND NOT coalesce(json_extract(n.spec, '$.internal'), 0)",
        (row[0],),
    ).fetchone()
    servers, _search = json.loads(row[1])
    return Asker(row[0], tuple(servers), outside is not None)


def local_records(
    connection: sqlite3.Connection, who: Asker, query: message.Query
) -> list[tuple[int, bytes]] | None:
    """The records for a name on one of the asker's networks, in any order; None if it is not one of them.

    A name that exists without an address of the kind has no records.
    """
    address = message.reverse_address(query.name)
    if address is not None:
        return _pointers(connection, who, address)
    rows = connection.execute(
        "SELECT DISTINCT e.ipv4, e.ipv6 FROM network_name m JOIN network_endpoint e ON e.id = m.endpoint_id"
        " JOIN network n ON n.id = e.network_id WHERE (m.name = ? OR m.name || '.' || lower(n.name) = ?)"
        " AND e.network_id IN (SELECT network_id FROM network_endpoint WHERE container_id = ?)",
        (query.name, query.name, who.container_id),
    ).fetchall()
    if not rows:
        return None
    records = []
    for ipv4, ipv6 in rows:
        if ipv4 and query.kind in (message.A, message.ANY):
            records.append((message.A, ipv4))
        if ipv6 and query.kind in (message.AAAA, message.ANY):
            records.append((message.AAAA, ipv6))
    random.shuffle(records)
    return records


def _pointers(connection: sqlite3.Connection, who: Asker, address: bytes) -> list[tuple[int, bytes]] | None:
    column = "ipv4" if len(address) == 4 else "ipv6"
    rows = connection.execute(
        f"SELECT c.name, c.id, n.name FROM network_endpoint e JOIN network n ON n.id = e.network_id"
        f" JOIN network_container c ON c.id = e.container_id WHERE e.{column} = ? AND"
        " e.network_id IN (SELECT network_id FROM network_endpoint WHERE container_id = ?)",
        (address, who.container_id),
    ).fetchall()
    names = [f"{name or id[:12]}.{network}" for name, id, network in rows]
    return [(message.PTR, message.write_name(name)) for name in names] or None


class HostServers:
    """The name servers of the host's resolv.conf, read again when it has changed."""

    def __init__(self, path: str = "/etc/resolv.conf") -> None:
        self._path = path
        self._stamp = (0, 0)
        self._servers: tuple[str, ...] = ()

    def get(self) -> tuple[str, ...]:
        """Their addresses; empty where the host has none."""
        import os

        try:
            found = os.stat(self._path)
            stamp = (found.st_mtime_ns, found.st_ino)
            if stamp != self._stamp:
                with open(self._path, encoding="utf-8", errors="replace") as file:
                    self._servers = parse_resolv_conf(file.read()).servers
                self._stamp = stamp
        except FileNotFoundError:
            return ()
        return self._servers
