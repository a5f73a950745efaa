"""The volume tables of the state database. JSON columns hold string maps."""

from __future__ import annotations

from trimaran.state import Area

AREA = Area(
    "volume",
    """
CREATE TABLE volume (
    name TEXT PRIMARY KEY,
    created REAL NOT NULL,          -- seconds since 1970
    anonymous INTEGER NOT NULL,     -- 1: made for one container, without a name given
    removing INTEGER NOT NULL DEFAULT 0,
    labels TEXT NOT NULL,
    options TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE volume_use (
    volume TEXT NOT NULL REFERENCES volume (name), container_id TEXT NOT NULL,
    PRIMARY KEY (volume, container_id)) STRICT, WITHOUT ROWID;
CREATE INDEX volume_use_container ON volume_use (container_id);
""",
)
