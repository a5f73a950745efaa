"""Writes cpio archives in the "newc" form, the one an initramfs has.

Linux Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import stat

_TRAILER = "TRAILER!!!"


class Archive:
    """An archive in memory. Entries are owned by root and dated 1970, so equal input gives equal bytes."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._inode = 0
        self._directories: set[str] = set()

    def directory(self, path: str, mode: int = 0o755) -> None:
        """Add a directory and the parents that are not there yet."""
        if path in self._directories:
            return
        parent = path.rpartition("/")[0]
        if parent:
            self.directory(parent)
        self._directories.add(path)
        self._entry(path, stat.S_IFDIR | mode)

    def file(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Add a regular file and the parents that are not there yet."""
        self._add_parent(path)
        self._entry(path, stat.S_IFREG | mode, content)

    def device(self, path: str, major: int, minor: int, mode: int = 0o600) -> None:
        """Add a character device and the parents that are not there yet."""
        self._add_parent(path)
        self._entry(path, stat.S_IFCHR | mode, major=major, minor=minor)

    def _add_parent(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        if parent:
            self.directory(parent)

    def _entry(self, path: str, mode: int, content: bytes = b"", *, major: int = 0, minor: int = 0) -> None:
        self._inode += 1
        self._write(self._inode, path, mode, content, major, minor)

    def _write(self, inode: int, path: str, mode: int, content: bytes, major: int, minor: int) -> None:
        name = path.encode() + b"\0"
        fields = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, major, minor, len(name), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields) + name
        self._parts += [_padded(header), _padded(content)]

    def finish(self) -> bytes:
        """The archive, ended. Nothing can be added afterwards."""
        self._write(0, _TRAILER, 0, b"", 0, 0)
        return b"".join(self._parts)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
