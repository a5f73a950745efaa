"""Looking through a stack of layer directories as overlayfs does, without mounting it.

The layers come from images, so every path is opened by descriptor and no link is followed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from types import TracebackType

from trimaran.linux.mounts import open_beneath

OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque", "user.fuseoverlayfs.opaque")
# fuse-overlayfs marks what it has removed by files as well, as AUFS did.
WHITEOUT_PREFIX = b".wh."
OPAQUE_FILES = (b".wh..wh..opq", b".wh..opq")


def is_whiteout(status: os.stat_result) -> bool:
    """Whether this says that a name is gone from the layers below."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(directory: int) -> bool:
    """Whether the directory (a descriptor) hides those of its path in the layers below."""
    for name in OPAQUE:
        try:
            if os.getxattr(directory, name) == b"y":
                return True
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.ENOTSUP, errno.EPERM):
                raise
    return False


class Merged:
    """Layer directories, the uppermost first, as one tree. Paths are relative, "" is the root."""

    def __init__(self, layers: Sequence[str]) -> None:
        self._layers = layers
        self._fds: dict[int, int] = {}
        self._directories: dict[bytes, tuple[int, ...]] = {b"": tuple(range(len(layers)))}

    def close(self) -> None:
        """Let go of the layers."""
        while self._fds:
            os.close(self._fds.popitem()[1])

    def __enter__(self) -> Merged:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fd(self, layer: int) -> int:
        """The directory of a layer, by its index; the stack owns the descriptor."""
        fd = self._fds.get(layer, -1)
        if fd < 0:
            fd = os.open(self._layers[layer], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._fds[layer] = fd
        return fd

    def directories(self, path: bytes) -> tuple[int, ...]:
        """Indices of the layers whose directories make up this one; empty if it is no directory."""
        known = self._directories.get(path)
        if known is None:
            known = self._directories[path] = tuple(self._merge(path))
        return known

    def find(self, path: bytes) -> tuple[int, os.stat_result] | None:
        """The layer that the file or directory at this path comes from, and its status."""
        return self._first(0, path)

    def below(self, path: bytes) -> tuple[int, os.stat_result] | None:
        """As :meth:`find`, without what the uppermost layer has at this very path."""
        return self._first(1, path)

    def _first(self, start: int, path: bytes) -> tuple[int, os.stat_result] | None:
        """Most lookups end at the first layer, or find nothing: merging all layers would cost more."""
        for layer in range(start, len(self._layers)):
            status = self.status(layer, path)
            if status is not None:
                hidden = is_whiteout(status) or any(self._hides(over, path) for over in range(layer))
                return None if hidden else (layer, status)
        return None

    def _hides(self, layer: int, path: bytes) -> bool:
        """Whether something above the path in this layer hides the path in those below it."""
        above = os.path.dirname(path)
        while above:
            status = self.status(layer, above)
            if status is not None and (not stat.S_ISDIR(status.st_mode) or self._opaque(layer, above)):
                return True
            above = os.path.dirname(above)
        return False

    def status(self, layer: int, path: bytes) -> os.stat_result | None:
        """What one layer has at this path, be it a whiteout; None if nothing."""
        try:
            fd = open_beneath(self.fd(layer), path, os.O_PATH)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return None
            raise
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def names(self, path: bytes) -> set[bytes]:
        """What a directory holds."""
        seen: dict[bytes, bool] = {}
        for layer in self.directories(path):
            for name, status in self.list_layer(layer, path).items():
                seen.setdefault(name, not is_whiteout(status))
        return {name for name, there in seen.items() if there}

    def list_layer(self, layer: int, path: bytes) -> dict[bytes, os.stat_result]:
        """What one layer's directory holds, whiteouts too."""
        directory = open_beneath(self.fd(layer), path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            names = os.listdir(directory)
            return {os.fsencode(n): os.stat(n, dir_fd=directory, follow_symlinks=False) for n in names}
        finally:
            os.close(directory)

    def forget(self, path: bytes) -> None:
        """A directory has been made, or removed, at this path."""
        self._directories.pop(path, None)

    def _merge(self, path: bytes) -> list[int]:
        found: list[int] = []
        for layer in self.directories(os.path.dirname(path)):
            status = self.status(layer, path)
            if status is None:
                continue
            if not stat.S_ISDIR(status.st_mode):
                break
            found.append(layer)
            if self._opaque(layer, path):
                break
        return found

    def _opaque(self, layer: int, path: bytes) -> bool:
        fd = open_beneath(self.fd(layer), path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return is_opaque(fd)
        finally:
            os.close(fd)
