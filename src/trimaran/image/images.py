"""All that can be done with images, in one object: what the engine, the command and the servers use."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

from trimaran.errors import InvalidInput
from trimaran.image.model import Image
from trimaran.image.platform import Platform
from trimaran.image.store import ImageStore

if TYPE_CHECKING:
    from trimaran.image.check import Report
    from trimaran.image.client import Transport
    from trimaran.image.gc import Collected, Usage
    from trimaran.image.layer_store import UnpackedLayers
    from trimaran.image.progress import Progress
    from trimaran.snapshot import Snapshotter


# The class below has a method named ``list``.
Listed = list[Image]
Lines = list[str]


class Images:
    """The images of one root directory, and the registries they come from and go to.

    ``snapshots`` keeps the unpacked layers. Everything heavy is imported when it is first needed: looking
    an image up costs one query.
    """

    def __init__(self, store: ImageStore, snapshots: Snapshotter) -> None:
        self.store = store
        self.snapshots = snapshots

    @property
    def layers(self) -> UnpackedLayers:
        """The unpacked layers, as pulls see them."""
        from trimaran.image.layer_store import UnpackedLayers

        return UnpackedLayers(self.snapshots)

    def get(self, name: str, platform: Platform | None = None) -> Image:
        """See :meth:`trimaran.image.store.ImageStore.get`."""
        return self.store.get(name, platform)

    def list(self) -> Listed:
        """Every image, once for each name it has."""
        return self.store.list()

    def pull(
        self,
        reference: str,
        *,
        platform: Platform | None = None,
        all_platforms: bool = False,
        progress: Progress | None = None,
        transport: Transport | None = None,
    ) -> Image:
        """Fetch an image from its registry and unpack it. See :func:`trimaran.image.pull.pull`."""
        from trimaran.image.client import Transport
        from trimaran.image.policy import verifier
        from trimaran.image.pull import PullOptions, pull

        used = transport or Transport()
        try:
            options = PullOptions(
                platform=platform,
                all_platforms=all_platforms,
                max_layer=_max_layer(),
                verify=verifier(),
            )
            return pull(reference, self.store, used, self.layers, progress, options)
        finally:
            used.close()

    def push(
        self,
        source: str,
        target: str = "",
        *,
        all_platforms: bool = False,
        progress: Progress | None = None,
        transport: Transport | None = None,
    ) -> str:
        """Send an image to a registry, as ``target`` or under its own name; returns its digest there."""
        from trimaran.image.client import Transport
        from trimaran.image.push import push

        used = transport or Transport()
        try:
            return push(source, target or source, self.store, used, progress, all_platforms=all_platforms)
        finally:
            used.close()

    def remove(self, name: str, *, force: bool = False) -> Lines:
        """Untag an image; with its last name it goes, and what only it needed. Returns what was done.

        Raises NotFound, and Conflict if a container uses it or it has other names (unless ``force``).
        """
        from trimaran.image.gc import collect

        done = self.store.remove(name, force=force)
        collect(self.store, self.layers)
        return done

    def prune(self, *, all: bool = False) -> Collected:
        """Remove nameless images (``all``: every one that no container uses) and what nothing reaches."""
        from trimaran.image.gc import prune

        self.snapshots.recover()
        return prune(self.store, self.layers, all=all)

    def usage(self) -> Usage:
        """How much space images take."""
        from trimaran.image.gc import usage

        return usage(self.store, self.layers)

    def check(self, *, repair: bool = False) -> Report:
        """Verify every blob, image and layer; ``repair`` fetches and unpacks again what is damaged."""
        from trimaran.image.check import check
        from trimaran.image.client import Transport

        if not repair:
            return check(self.store, self.layers)
        self.snapshots.recover()
        transport = Transport()
        try:
            return check(self.store, self.layers, transport=transport)
        finally:
            transport.close()

    def load(self, path: str = "", file: IO[bytes] | None = None) -> Listed:
        """Load the images of an archive: a file or directory at ``path``, or what comes from ``file``."""
        from trimaran.image.bundle import open_bundle
        from trimaran.image.load import load

        bundle = open_bundle(path, self.store.content.root, file)
        try:
            return load(bundle, self.store, self.layers)
        finally:
            bundle.close()

    def save(self, names: Sequence[str], file: IO[bytes], *, docker: bool = True) -> None:
        """Write images to a tar archive: docker's form and an OCI layout at once, or the latter only."""
        from trimaran.image.save import save_archive

        save_archive(self.store, names, file, docker=docker)

    def save_directory(self, names: Sequence[str], path: str) -> None:
        """Write images to an OCI layout in a new directory."""
        from trimaran.image.save import save_directory

        save_directory(self.store, names, path)

    def import_(
        self,
        file: IO[bytes],
        name: str = "",
        *,
        platform: Platform | None = None,
        config: Mapping[str, Any] | None = None,
        message: str = "",
    ) -> Image:
        """Make an image of a tar archive of a root file system, which may be compressed.

        ``config`` is the image's run configuration (Cmd, Env, ...).
        """
        from trimaran.image.assemble import import_tree

        return import_tree(
            self.store,
            self.layers,
            file,
            name,
            platform=platform or Platform.host(),
            run=config or {},
            message=message,
        )

    def commit(
        self,
        image: Image | None,
        upper: int,
        name: str = "",
        *,
        config: Mapping[str, Any] | None = None,
        message: str = "",
        author: str = "",
    ) -> Image:
        """Make an image of ``image`` and the changes in an upper directory (a descriptor).

        ``config`` overrides keys of the parent's run configuration.
        """
        from trimaran.image.assemble import commit_changes

        return commit_changes(
            self.store,
            self.layers,
            image,
            upper,
            name,
            run=config or {},
            message=message,
            author=author,
        )


def _max_layer() -> int:
    text = os.environ.get("TRIMARAN_MAX_LAYER", "")
    if text and not (text.isascii() and text.isdigit()):
        raise InvalidInput(f"TRIMARAN_MAX_LAYER={text}", why="must be a number of bytes")
    return int(text or 0)
