"""Garbage collection: removing names, and what no name, hold or lease reaches any more.

Whoever gathers content protects it by a lease first, in the database; a collection holds the database's write
lock from the moment it reads the leases until the last file is gone. So it is safe while pulls run.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from sqlite3 import Connection
from typing import Protocol

from trimaran.errors import Conflict, InvalidReference, NotFound
from trimaran.image.reference import Reference
from trimaran.image.store import ImageStore
from trimaran.state.intents import owner_alive

# What an interrupted pull has gathered is kept so long for the next attempt, except from `prune`.
LEASE_SECONDS = 24 * 3600


class RemovableLayers(Protocol):
    """What garbage collection needs of the snapshotter."""

    def layers(self) -> Sequence[str]:
        """The chain IDs of all unpacked layers, children before their parents."""

    def remove_layer(self, chain_id: str) -> int:
        """Remove a layer; returns the bytes that its stream had. Conflict if something lies on it."""


@dataclass(slots=True)
class Collected:
    """What a collection has removed. ``bytes`` counts blobs, partial downloads and layer streams."""

    images: list[str] = field(default_factory=list)
    blobs: int = 0
    layers: int = 0
    partials: int = 0
    bytes: int = 0


def remove(store: ImageStore, name: str, force: bool) -> list[str]:
    """See :meth:`trimaran.image.store.ImageStore.remove`."""
    done = []
    with store.database.write() as connection:
        image = store.get(name)
        names = store.names(image.digest)
        going = [image.reference] if image.reference and _means(name, image.reference) else names
        if going == names and len(names) > 1 and not force:
            raise Conflict(
                f"the image {name} has several names",
                why=", ".join(Reference.parse(n).familiar for n in names[:5]),
                hint="remove it by each of them, or use --force",
            )
        holders = store.holders(image.digest)
        if holders and len(going) == len(names) and not force:
            raise Conflict(
                f"the image {name} is in use", why=f"by {', '.join(holders[:5])}", hint="remove these first"
            )
        for each in going:
            store.untag(each)
            done.append(f"untagged: {Reference.parse(each).familiar}")
        if len(going) == len(names):
            done += [f"deleted: {digest}" for digest in _drop(connection, "AND target = ?", image.target)]
    return done


def _means(text: str, name: str) -> bool:
    try:
        return str(Reference.parse(text)) == name
    except InvalidReference:
        return False


def _drop(connection: Connection, condition: str = "", *values: str) -> list[str]:
    """Forget the images that neither a name nor a hold keeps, of those that meet a condition."""
    rows = connection.execute(
        f"""SELECT DISTINCT manifest FROM image_variant WHERE
        NOT EXISTS (SELECT 1 FROM image_hold WHERE image_hold.manifest = image_variant.manifest)
        AND NOT EXISTS (SELECT 1 FROM image_variant AS v JOIN image_name USING (target)
                        WHERE v.manifest = image_variant.manifest) {condition}""",
        values,
    ).fetchall()
    connection.executemany("DELETE FROM image WHERE manifest = ?", [(row["manifest"],) for row in rows])
    return [row["manifest"] for row in rows]


def prune(store: ImageStore, layers: RemovableLayers, *, all: bool = False) -> Collected:
    """Remove nameless images (``all``: every image that no container uses) and everything unreachable.

    What interrupted pulls have left goes too; those that run are not disturbed.
    """
    with store.database.write() as connection:
        if all:
            connection.execute(
                """DELETE FROM image_name WHERE NOT EXISTS (
                SELECT 1 FROM image_variant JOIN image_hold USING (manifest)
                WHERE image_variant.target = image_name.target)"""
            )
        images = _drop(connection)
    collected = collect(store, layers, lease_seconds=0)
    collected.images = images
    return collected


def collect(store: ImageStore, layers: RemovableLayers, *, lease_seconds: int = LEASE_SECONDS) -> Collected:
    """Remove the blobs and layers that nothing reaches.

    Leases of dead processes count for ``lease_seconds`` since they were made. With 0, what is left of
    interrupted downloads is removed as well.
    """
    found = Collected()
    with store.database.write() as connection:
        _end_leases(connection, lease_seconds)
        live = reachable(store, connection)
        for digest, size in list(store.content.walk()):
            if digest not in live:
                store.content.remove(digest)
                found.blobs += 1
                found.bytes += size
        if lease_seconds == 0:
            for _, path, _status in list(store.content.partials()):
                size = store.content.drop_partial(path)
                found.partials += 1
                found.bytes += size
        unneeded = [chain for chain in layers.layers() if chain not in live]
    for chain in unneeded:
        _remove_layer(store, layers, chain, found)
    return found


def _remove_layer(store: ImageStore, layers: RemovableLayers, chain: str, found: Collected) -> None:
    """Outside the long transaction, since removing many files takes long; looked at once more within."""
    with store.database.write() as connection:
        if chain in reachable(store, connection):
            return
    try:
        found.bytes += layers.remove_layer(chain)
        found.layers += 1
    except (Conflict, NotFound):
        return


def _end_leases(connection: Connection, seconds: int) -> None:
    oldest = time.time() - seconds
    for row in connection.execute("SELECT id, owner, made FROM image_lease").fetchall():
        abandoned = not row["owner"] or not owner_alive(row["owner"])
        if abandoned and row["made"] <= oldest:
            connection.execute("DELETE FROM image_lease WHERE id = ?", (row["id"],))


def reachable(store: ImageStore, connection: Connection) -> set[str]:
    """The digests and chain IDs that are in use."""
    live = {row["digest"] for row in connection.execute("SELECT digest FROM image_lease_item")}
    for image in store.list():
        live |= {image.digest, image.target, image.id, *image.chain_ids}
        live |= {layer.digest for layer in image.layers}
    return live


@dataclass(slots=True)
class Usage:
    """Space that the images of a root directory take, in bytes."""

    images: int = 0
    active: int = 0
    blobs: int = 0
    layers: int = 0
    bytes: int = 0
    reclaimable: int = 0


def usage(store: ImageStore, layers: RemovableLayers) -> Usage:
    """How much there is, and how much of it ``prune`` with ``all`` would free."""
    used = Usage()
    held: set[str] = set()
    seen: set[str] = set()
    for image in store.list():
        if image.digest not in seen:
            seen.add(image.digest)
            used.images += 1
            if store.holders(image.digest):
                used.active += 1
                held |= {image.digest, image.target, image.id, *(layer.digest for layer in image.layers)}
    for digest, size in store.content.walk():
        used.blobs += 1
        used.bytes += size
        used.reclaimable += size if digest not in held else 0
    for _, _, status in store.content.partials():
        used.bytes += status.st_size
        used.reclaimable += status.st_size
    used.layers = len(layers.layers())
    return used
