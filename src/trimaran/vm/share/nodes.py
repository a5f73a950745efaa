"""The nodes that a guest has looked up, and the files it has open: bounded tables of descriptors."""

from __future__ import annotations

import errno
import os
import stat

ROOT = 1
# A descriptor a node: a guest that holds more inodes than this is told so, and its cache shrinks.
MAX_NODES = 60_000
MAX_HANDLES = 4_096


class Node:
    """An inode of the host, by an ``O_PATH`` descriptor that no rename or link can turn elsewhere."""

    __slots__ = ("fd", "key", "lookups")

    def __init__(self, fd: int, key: tuple[int, int]) -> None:
        self.fd = fd
        self.key = key
        self.lookups = 0

    @property
    def path(self) -> str:
        """A name for calls that take no descriptor: it leads to this inode and no further."""
        return f"/proc/self/fd/{self.fd}"

    def stat(self) -> os.stat_result:
        """The inode's state."""
        return os.fstat(self.fd)


class Nodes:
    """Node numbers as the guest knows them. Number 1 is the shared directory or file itself."""

    def __init__(self, root: int) -> None:
        found = os.fstat(root)
        self._next = ROOT + 1
        self._nodes = {ROOT: Node(root, (found.st_dev, found.st_ino))}
        self._numbers = {(found.st_dev, found.st_ino): ROOT}

    def __getitem__(self, number: int) -> Node:
        node = self._nodes.get(number)
        if node is None:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return node

    def directory(self, number: int) -> int:
        """The descriptor of a node, which must be a directory."""
        node = self[number]
        if not stat.S_ISDIR(node.stat().st_mode):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return node.fd

    def lookup(self, parent: int, name: bytes) -> tuple[int, os.stat_result]:
        """(number, state) of the entry NAME of the directory PARENT; counts as one lookup."""
        fd = os.open(checked(name), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.directory(parent))
        try:
            found = os.fstat(fd)
            key = (found.st_dev, found.st_ino)
            number = self._numbers.get(key)
            if number is None:
                if len(self._nodes) >= MAX_NODES:
                    raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))
                number, self._next = self._next, self._next + 1
                self._nodes[number] = Node(fd, key)
                self._numbers[key] = number
                fd = -1
        finally:
            if fd >= 0:
                os.close(fd)
        self._nodes[number].lookups += 1
        return number, found

    def forget(self, number: int, count: int) -> None:
        """The guest drops COUNT lookups of a node."""
        node = self._nodes.get(number)
        if node is None or number == ROOT:
            return
        node.lookups -= count
        if node.lookups <= 0:
            del self._nodes[number]
            del self._numbers[node.key]
            os.close(node.fd)

    def close(self) -> None:
        """Close every descriptor."""
        for node in self._nodes.values():
            os.close(node.fd)
        self._nodes.clear()
        self._numbers.clear()


class Handles:
    """Open files and directories as the guest knows them."""

    def __init__(self) -> None:
        self._next = 1
        self._open: dict[int, int] = {}
        self._listings: dict[int, list[bytes]] = {}

    def add(self, fd: int) -> int:
        """A number for an open descriptor, which is taken over."""
        if len(self._open) >= MAX_HANDLES:
            os.close(fd)
            raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))
        number, self._next = self._next, self._next + 1
        self._open[number] = fd
        return number

    def __getitem__(self, number: int) -> int:
        fd = self._open.get(number)
        if fd is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return fd

    def listing(self, number: int, *, fresh: bool) -> list[bytes]:
        """The names in an open directory, as they were when reading began: offsets stay valid."""
        fd = self[number]
        if fresh or number not in self._listings:
            self._listings[number] = [os.fsencode(name) for name in os.listdir(fd)]
        return self._listings[number]

    def release(self, number: int) -> None:
        """Close a handle."""
        self._listings.pop(number, None)
        fd = self._open.pop(number, None)
        if fd is not None:
            os.close(fd)

    def close(self) -> None:
        """Close every handle."""
        for number in list(self._open):
            self.release(number)


def checked(name: bytes) -> bytes:
    """NAME if it is one entry of a directory: not ``..``, not a path."""
    if not name or name in (b".", b"..") or b"/" in name or b"\0" in name or len(name) > 255:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return name
