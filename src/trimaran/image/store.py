"""The image store: names and images in the state database, their content in the content store.

A *name* is a full reference; it points at a *target*, an index or a manifest. An *image* is a manifest
with its configuration, for one platform. A *lease* protects content while it is being gathered, a *hold*
protects an image while a container uses it. What none of them reaches, garbage collection removes
(:mod:`trimaran.image.gc`).
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager

from trimaran.errors import Conflict, InvalidReference, NotFound
from trimaran.image.model import Image, Layer
from trimaran.image.platform import Platform
from trimaran.image.reference import Reference, is_digest
from trimaran.state import Area, Database, owner_identity
from trimaran.state import text as json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from sqlite3 import Row

    from trimaran.image.content import ContentStore

AREA = Area(
    "image",
    """
CREATE TABLE image (
    manifest TEXT PRIMARY KEY, media_type TEXT NOT NULL, config_digest TEXT NOT NULL, config TEXT NOT NULL,
    layers TEXT NOT NULL, platform TEXT NOT NULL, size INTEGER NOT NULL, added INTEGER NOT NULL) STRICT;
CREATE INDEX image_config ON image (config_digest);
CREATE TABLE image_name (
    name TEXT PRIMARY KEY, target TEXT NOT NULL, updated INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE image_variant (
    target TEXT NOT NULL, manifest TEXT NOT NULL REFERENCES image ON DELETE CASCADE,
    PRIMARY KEY (target, manifest)) STRICT, WITHOUT ROWID;
CREATE INDEX image_variant_manifest ON image_variant (manifest);
CREATE TABLE image_hold (
    manifest TEXT NOT NULL REFERENCES image, holder TEXT NOT NULL,
    PRIMARY KEY (manifest, holder)) STRICT, WITHOUT ROWID;
CREATE TABLE image_lease (
    id INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL, made INTEGER NOT NULL) STRICT;
CREATE TABLE image_lease_item (
    lease INTEGER NOT NULL REFERENCES image_lease ON DELETE CASCADE, digest TEXT NOT NULL,
    PRIMARY KEY (lease, digest)) STRICT, WITHOUT ROWID;
""",
)

# The class below has a method named ``list``.
Images = list[Image]
Strings = list[str]

_IMAGES = """
SELECT image.*, image_variant.target, coalesce(image_name.name, '') AS name
FROM image JOIN image_variant USING (manifest) LEFT JOIN image_name USING (target)
"""


class Lease:
    """Keeps content from garbage collection while its owner works. Made by :meth:`ImageStore.lease`."""

    def __init__(self, database: Database, id: int) -> None:
        self._database = database
        self.id = id

    def protect(self, digests: Iterable[str]) -> None:
        """Protect content that is here, or is about to be: blobs by digest, layers by chain ID.

        To be called before looking whether the content is here: then it stays, if it is.
        """
        with self._database.write() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO image_lease_item VALUES (?, ?)", [(self.id, d) for d in digests]
            )


class ImageStore:
    """The images of one root directory. Safe to use from several threads and processes.

    ``database`` has been opened with :data:`AREA`; ``root`` is the engine's root directory.
    """

    def __init__(self, root: str, database: Database) -> None:
        self.root = root
        self.database = database
        self._content: ContentStore | None = None

    @property
    def content(self) -> ContentStore:
        """Where blobs are; opened when first needed."""
        if self._content is None:
            from trimaran.image.content import ContentStore

            self._content = ContentStore(os.path.join(self.root, "content"))
        return self._content

    def get(self, name: str, platform: Platform | None = None) -> Image:
        """The image of a name, a digest, or an image ID (12 or more digits of it will do).

        Without ``platform`` it is this machine's if there is one, else the only one there is.
        Raises :class:`~trimaran.errors.NotFound`, or Conflict for an ID that is not unique.
        """
        images = self._by_reference(name) or self._by_id(name)
        if platform:
            images = [image for image in images if image.platform.rank(platform) >= 0]
        if not images:
            wanted = f" for {platform}" if platform else ""
            raise NotFound(f"no image {name!r}{wanted} is here", hint=f"`trimaran pull {name}` fetches it")
        host = platform or Platform.host()
        return min(images, key=lambda image: image.platform.rank(host) % 100)

    def _by_reference(self, name: str) -> Images:
        if is_digest(name):
            return self._query("WHERE image.manifest = ? OR image_variant.target = ?", name, name)
        try:
            reference = Reference.parse(name)
        except InvalidReference:
            return []
        if not reference.digest:
            return self._query("WHERE image_name.name = ?", str(reference))
        found = self._query(
            "WHERE image.manifest = ? OR image_variant.target = ?", reference.digest, reference.digest
        )
        known = [image for image in found if _repository(image.reference) == reference.repository]
        for image in known:
            image.reference = str(reference)
        return known

    def _by_id(self, name: str) -> Images:
        prefix = name.removeprefix("sha256:").lower()
        if not (4 <= len(prefix) <= 64 and all(c in "0123456789abcdef" for c in prefix)):
            return []
        like = f"sha256:{prefix}%"
        images = self._query("WHERE image.config_digest LIKE ? OR image.manifest LIKE ?", like, like)
        if len({image.id for image in images}) > 1:
            raise Conflict(f"the image ID {name!r} is not unique", hint="give more of its digits")
        return images

    def list(self) -> Images:
        """Every image, once for each name it has; nameless ones have an empty reference."""
        return self._query("ORDER BY image.added DESC, name")

    def names(self, digest: str) -> Strings:
        """The names whose target is, or holds, the manifest with this digest."""
        rows = self.database.connection().execute(
            "SELECT name FROM image_name JOIN image_variant USING (target) WHERE manifest = ? ORDER BY name",
            (digest,),
        )
        return [row["name"] for row in rows]

    def _query(self, where: str, *values: str) -> Images:
        return [_image(row) for row in self.database.connection().execute(f"{_IMAGES} {where}", values)]

    def target(self, name: str) -> str | None:
        """The digest that a full reference points at; None if the name is not here."""
        row = (
            self.database.connection()
            .execute("SELECT target FROM image_name WHERE name = ?", (name,))
            .fetchone()
        )
        return row["target"] if row else None

    def put(self, image: Image) -> None:
        """Record an image whose content is complete, under its reference if it has one.

        Whoever calls it holds a lease on the content.
        """
        layers = json.dumps([[x.digest, x.size, x.media_type, x.diff_id, x.chain_id] for x in image.layers])
        now = int(time.time())
        with self.database.write() as connection:
            connection.execute(
                "INSERT INTO image VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (manifest) DO NOTHING",
                (
                    *(image.digest, image.media_type, image.id, json.dumps(image.config), layers),
                    *(str(image.platform), image.size, now),
                ),
            )
            connection.execute(
                "INSERT OR IGNORE INTO image_variant VALUES (?, ?)", (image.target, image.digest)
            )
            if image.reference:
                connection.execute(
                    "INSERT OR REPLACE INTO image_name VALUES (?, ?, ?)",
                    (image.reference, image.target, now),
                )

    def tag(self, source: str, name: str) -> None:
        """Give the image ``source`` one more name. Raises NotFound or InvalidReference."""
        reference = Reference.parse(name)
        if reference.digest:
            raise InvalidReference(f"cannot tag as {name!r}", why="a digest is no tag")
        with self.database.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO image_name VALUES (?, ?, ?)",
                (str(reference), self.get(source).target, int(time.time())),
            )

    def untag(self, name: str) -> bool:
        """Take a full reference away; the image stays, perhaps nameless. Returns whether it was there."""
        cursor = self.database.connection().execute("DELETE FROM image_name WHERE name = ?", (name,))
        return cursor.rowcount > 0

    def hold(self, digest: str, holder: str) -> None:
        """Keep an image, by its manifest's digest, for as long as ``holder`` (a container) uses it."""
        self.database.connection().execute("INSERT OR IGNORE INTO image_hold VALUES (?, ?)", (digest, holder))

    def release(self, holder: str) -> None:
        """End all holds of a holder."""
        self.database.connection().execute("DELETE FROM image_hold WHERE holder = ?", (holder,))

    def holders(self, digest: str) -> Strings:
        """Who holds an image."""
        rows = self.database.connection().execute(
            "SELECT holder FROM image_hold WHERE manifest = ? ORDER BY holder", (digest,)
        )
        return [row["holder"] for row in rows]

    @contextmanager
    def lease(self) -> Iterator[Lease]:
        """A lease for the time of the block.

        If the block raises, the lease is left without an owner: a later attempt may use what was gathered,
        until garbage collection finds it too old.
        """
        cursor = self.database.connection().execute(
            "INSERT INTO image_lease (owner, made) VALUES (?, ?)", (owner_identity(), int(time.time()))
        )
        lease = Lease(self.database, cursor.lastrowid or 0)
        try:
            yield lease
        except BaseException:
            self.database.connection().execute("UPDATE image_lease SET owner = '' WHERE id = ?", (lease.id,))
            raise
        self.database.connection().execute("DELETE FROM image_lease WHERE id = ?", (lease.id,))

    def remove(self, name: str, *, force: bool = False) -> Strings:
        """Untag an image, and remove it with its content if that was its last name.

        By ID or digest, all names go, if there is one or ``force``. Returns what was done, a line each:
        ``untagged: NAME``, ``deleted: DIGEST``. Raises NotFound, or Conflict if a container holds it.
        """
        from trimaran.image.gc import remove

        return remove(self, name, force)


def _repository(name: str) -> str:
    return Reference.parse(name).repository if name else ""


def _image(row: Row) -> Image:
    return Image(
        reference=row["name"],
        digest=row["manifest"],
        target=row["target"],
        media_type=row["media_type"],
        id=row["config_digest"],
        config=json.loads(row["config"]),
        layers=tuple(Layer(*entry) for entry in json.loads(row["layers"])),
        platform=Platform.parse(row["platform"]),
        size=row["size"],
        created=row["added"],
    )
