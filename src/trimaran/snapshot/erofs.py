"""Layers as EROFS images: read-only file systems in one file each, under an overlay.

A microVM gets the files as disks. For the host's containers each is mounted once at ROOT/mounts/NAME, from
the file itself where that is possible (Linux 6.12 or newer), else from a loop device; these are the only
mounts that Trimaran keeps on the host. Images are made by mkfs.erofs, of the same directory that the overlay
snapshotter would keep.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from trimaran.errors import ImageError, KernelError, Unsupported
from trimaran.linux import loop, mounts
from trimaran.snapshot.base import Draft, LayerFacts
from trimaran.snapshot.drafts import remove
from trimaran.snapshot.overlay import OverlaySnapshotter
from trimaran.snapshot.register import Layer
from trimaran.snapshot.settle import settle
from trimaran.state import Database

PROGRAM = "mkfs.erofs"


class ErofsSnapshotter(OverlaySnapshotter):
    """Overlay of EROFS images. Raises Unsupported without mkfs.erofs or a kernel with EROFS."""

    name = "erofs"

    def __init__(self, root: str, database: Database) -> None:
        if not shutil.which(PROGRAM):
            raise Unsupported(f"{PROGRAM} is not installed", hint="install the package erofs-utils")
        super().__init__(root, database)
        self._mounts = os.path.join(root, "mounts")
        os.makedirs(self._mounts, mode=0o700, exist_ok=True)

    def image_paths(self, chain_id: str) -> list[str]:
        """The image files of a chain, the uppermost first."""
        return [self._shelf.layer(layer.name) for layer in self._visible(self._register.chain(chain_id))]

    def _paths(self, chain: list[Layer]) -> list[str]:
        with self._locked():
            return [self._attach(layer.name) for layer in self._visible(chain)]

    def _complete(self, path: str, below: list[Layer], facts: LayerFacts) -> None:
        with ExitStack() as opened:
            lower = []
            for layer in self._visible(below):
                fd = self._open_image(layer.name)
                opened.callback(os.close, fd)
                lower.append(f"/proc/self/fd/{fd}")
            settle(path, lower, facts)

    def _seal(self, draft: Draft) -> None:
        """The image takes the place of the directory."""
        image = draft.path + ".img"
        command = [PROGRAM, "--quiet", "-Enoinline_data", "--preserve-mtime", image, draft.path]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            remove(self._shelf.path, os.path.basename(image))
            why = done.stderr.strip().splitlines()[-1:] or [f"it ended with {done.returncode}"]
            raise ImageError(f"{PROGRAM} cannot make an image of the layer {draft.chain_id}", why=why[0])
        remove(self._shelf.path, os.path.basename(draft.path))
        os.rename(image, draft.path)

    def remove_layer(self, chain_id: str) -> int:
        name = self._register.chain(chain_id)[0].name
        size = super().remove_layer(chain_id)
        with self._locked():
            self._detach(name)
        return size

    def recover(self) -> None:
        super().recover()
        with self._locked():
            for name in set(os.listdir(self._mounts)) - self._register.names():
                self._detach(name)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Nobody else attaches or detaches an image meanwhile."""
        fd = os.open(self._mounts, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _mount_image(self, name: str) -> int:
        image = self._shelf.layer(name)
        try:
            return _mount(image)
        except KernelError as error:
            if error.errno != errno.ENOTBLK:
                raise
        # An older kernel, or a file system (tmpfs) that EROFS cannot read files of.
        fd, device = loop.attach_read_only(image)
        try:
            return _mount(device)
        finally:
            os.close(fd)

    def _open_image(self, name: str) -> int:
        return self._open(self._mount_image(name))

    def _attach(self, name: str) -> str:
        target = os.path.join(self._mounts, name)
        os.makedirs(target, mode=0o700, exist_ok=True)
        if not os.path.ismount(target):
            fd = self._mount_image(name)
            try:
                mounts.attach(fd, target)
            finally:
                os.close(fd)
        return target

    def _detach(self, name: str) -> None:
        target = os.path.join(self._mounts, name)
        while os.path.ismount(target):
            mounts.detach(target)
        remove(self._mounts, name)


def _mount(source: str) -> int:
    return mounts.new("erofs", [("source", source), ("ro", None)], mounts.MOUNT_ATTR_RDONLY)
