"""The snapshotters' tables: which layers there are, what lies on what, and which containers use them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from trimaran.errors import Conflict, NotFound
from trimaran.state import Area, Database

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from trimaran.values import dataclass

AREA = Area(
    "snapshot",
    """
    CREATE TABLE snapshot_layer (
        id INTEGER PRIMARY KEY, driver TEXT NOT NULL, chain_id TEXT NOT NULL, parent TEXT,
        name TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, entries INTEGER NOT NULL, opaque INTEGER NOT NULL,
        mode INTEGER NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL,
        UNIQUE (driver, chain_id)) STRICT;
    CREATE INDEX snapshot_layer_parent ON snapshot_layer (driver, parent);
    CREATE TABLE snapshot_container (
        id TEXT PRIMARY KEY, driver TEXT NOT NULL, chain_id TEXT,
        project INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE INDEX snapshot_container_chain ON snapshot_container (driver, chain_id);
    """,
)

# Projects of other programs are small numbers, by custom.
FIRST_PROJECT = 0x54520000

_CHAIN = """
WITH RECURSIVE chain (depth, chain_id, parent, name, size, entries, opaque, mode, uid, gid) AS (
    SELECT 0, chain_id, parent, name, size, entries, opaque, mode, uid, gid
    FROM snapshot_layer WHERE driver = :driver AND chain_id = :chain_id
    UNION ALL
    SELECT depth + 1, l.chain_id, l.parent, l.name, l.size, l.entries, l.opaque, l.mode, l.uid, l.gid
    FROM chain JOIN snapshot_layer AS l ON l.driver = :driver AND l.chain_id = chain.parent)
SELECT * FROM chain ORDER BY depth
"""


@dataclass(frozen=True)
class Layer:
    """A layer that is there. ``mode``, ``uid`` and ``gid`` are those of its root directory."""

    chain_id: str
    parent: str | None
    name: str
    size: int
    entries: int
    opaque: bool
    mode: int
    uid: int
    gid: int


class Register:
    """The rows of one driver."""

    def __init__(self, database: Database, driver: str) -> None:
        self.database = database
        self.driver = driver

    def has(self, chain_id: str) -> bool:
        """Whether the layer is there."""
        return (
            self._one("SELECT 1 FROM snapshot_layer WHERE driver = ? AND chain_id = ?", chain_id) is not None
        )

    def chain(self, chain_id: str) -> list[Layer]:
        """The layer and all below it, the uppermost first. Raises NotFound."""
        rows = (
            self.database.connection()
            .execute(_CHAIN, {"driver": self.driver, "chain_id": chain_id})
            .fetchall()
        )
        if not rows:
            raise NotFound(f"the layer {chain_id} is not unpacked here", hint="pull the image again")
        return [Layer(r[1], r[2], r[3], r[4], r[5], bool(r[6]), r[7], r[8], r[9]) for r in rows]

    def add(self, layer: Layer) -> None:
        """Make a layer visible. Raises NotFound without its parent, sqlite3.IntegrityError if it is there."""
        if layer.parent is not None and not self.has(layer.parent):
            raise NotFound(f"the layer {layer.parent} below {layer.chain_id} is not unpacked here")
        self.database.connection().execute(
            "INSERT INTO snapshot_layer"
            " (driver, chain_id, parent, name, size, entries, opaque, mode, uid, gid)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(self.driver, layer.chain_id, layer.parent, layer.name, layer.size, layer.entries),
                *(layer.opaque, layer.mode, layer.uid, layer.gid),
            ),
        )

    def drop(self, chain_id: str) -> Layer:
        """Forget a layer. Raises NotFound, and Conflict if a layer or a container lies on it."""
        layer = self.chain(chain_id)[0]
        above = "SELECT chain_id FROM snapshot_layer WHERE driver = ? AND parent = ? LIMIT 1"
        if row := self._one(above, chain_id):
            raise Conflict(f"the layer {chain_id} is in use", why=f"the layer {row[0]} lies on it")
        user = "SELECT id FROM snapshot_container WHERE driver = ? AND chain_id = ? LIMIT 1"
        if row := self._one(user, chain_id):
            raise Conflict(f"the layer {chain_id} is in use", why=f"the container {row[0]} lies on it")
        self.database.connection().execute(
            "DELETE FROM snapshot_layer WHERE driver = ? AND chain_id = ?", (self.driver, chain_id)
        )
        return layer

    def layers(self) -> list[tuple[str, str]]:
        """Chain ID and name of all layers, children first (a parent has always been there before)."""
        query = "SELECT chain_id, name FROM snapshot_layer WHERE driver = ? ORDER BY id DESC"
        return [(row[0], row[1]) for row in self.database.connection().execute(query, (self.driver,))]

    def names(self) -> set[str]:
        """Names of all layers, of every driver."""
        return {row[0] for row in self.database.connection().execute("SELECT name FROM snapshot_layer")}

    def add_container(self, container_id: str, chain_id: str | None, project: int = 0) -> None:
        """Note a container's root. Raises Conflict if it has one."""
        try:
            self.database.connection().execute(
                "INSERT INTO snapshot_container VALUES (?, ?, ?, ?)",
                (container_id, self.driver, chain_id, project),
            )
        except sqlite3.IntegrityError:
            raise Conflict(f"the container {container_id} has a root file system already") from None

    def new_project(self) -> int:
        """A number for a quota that no container has."""
        query = "SELECT max(project) FROM snapshot_container"
        return max(self.database.connection().execute(query).fetchone()[0] or 0, FIRST_PROJECT) + 1

    def container(self, container_id: str) -> str | None:
        """The chain that a container lies on. Raises NotFound."""
        query = "SELECT chain_id FROM snapshot_container WHERE driver = ? AND id = ?"
        row = self._one(query, container_id)
        if row is None:
            raise NotFound(f"the container {container_id} has no root file system")
        chain_id: str | None = row[0]
        return chain_id

    def drop_container(self, container_id: str) -> None:
        """Forget a container's root; idempotent."""
        self.database.connection().execute(
            "DELETE FROM snapshot_container WHERE driver = ? AND id = ?", (self.driver, container_id)
        )

    def containers(self, *, of_all: bool = False) -> Iterator[str]:
        """Ids of the containers with a root, of this driver or of every one."""
        query = "SELECT id FROM snapshot_container WHERE ? OR driver = ? ORDER BY id"
        for row in self.database.connection().execute(query, (of_all, self.driver)):
            yield row[0]

    def _one(self, query: str, value: str) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self.database.connection().execute(query, (self.driver, value)).fetchone()
        return row
