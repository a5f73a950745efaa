"""Garbage collection: removing names, and what no name, hold or lease reaches any more."""

from __future__ import annotations

from dataclasses import dataclass
from sqlite3 import Connection
from typing import Protocol

from trimaran.errors import Conflict
from trimaran.image.reference import Reference, is_digest
from trimaran.image.store import ImageStore

# What an interrupted pull has gathered is kept so long for the next attempt, except from `prune`.
LEASE_SECONDS = 24 * 3600


class UnpackedLayers(Protocol):
    """What garbage collection needs of the snapshotter."""

    def layers(self) -> list[str]:
        """The chain IDs of all unpacked layers."""

    def remove_layer(self, chain_id: str) -> int:
        """Remove an unpacked layer that nothing uses; returns how many bytes that freed."""


@dataclass(slots=True)
class Collected:
    """What a collection has removed."""

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
        by_name = bool(image.reference) and not is_digest(name) and _means(name, image.reference)
        if not by_name and len(names) > 1 and not force:
            raise Conflict(
                f"the image {name} has several names",
                why=", ".join(Reference.parse(n).familiar for n in names[:5]),
                hint="remove it by each of them, or use --force",
            )
        going = [image.reference] if by_name else names
        holders = store.holders(image.digest)
        if holders and len(going) == len(names) and not force:
            raise Conflict(
                f"the image {name} is in use", why=f"by {', '.join(holders[:5])}", hint="remove these first"
            )
        for each in going:
            store.untag(each)
            done.append(f"untagged: {Reference.parse(each).familiar}")
        if len(going) == len(names) and not holders:
            for digest in _drop_images(connection, "target = ?", image.target):
                done.append(f"deleted: {digest}")
    return done


def _means(text: str, name: str) -> bool:
    try:
        return str(Reference.parse(text)) == name
    except ValueError:
        return False


def _drop_images(connection: Connection, where: str, *values: str) -> list[str]:
    """Forget images of a condition on image_variant that no name and no hold keeps."""
    rows = connection.execute(
        f"""SELECT DISTINCT manifest FROM image_variant WHERE {where}
        AND NOT EXISTS (SELECT 1 FROM image_hold WHERE image_hold.manifest = image_variant.manifest)
        AND NOT EXISTS (SELECT 1 FROM image_variant AS v JOIN image_name USING (target)
                        WHERE v.manifest = image_variant.manifest)""",
        values,
    ).fetchall()
    for row in rows:
        connection.execute("DELETE FROM image WHERE manifest = ?", (row["manifest"],))
    return [row["manifest"] for row in rows]
