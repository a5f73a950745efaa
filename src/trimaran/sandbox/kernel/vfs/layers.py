"""Directories of the host that a layered file system is made of, and their on-disk form (overlayfs).

A whiteout is a character device 0:0; an opaque directory has the attribute ``trusted.overlay.opaque`` or
``user.overlay.opaque``. Where the supervisor may not set owners or make devices, ``user.trimaran.owner``
holds ``UID:GID:MODE:RDEV`` in their stead.
"""

from __future__ import annotations

import errno as E
import os
import stat as S

OWNER = b"user.trimaran.owner"
OPAQUE = (b"user.overlay.opaque", b"trusted.overlay.opaque")
WHITEOUT = b"user.overlay.whiteout"


class Layer:
    """One directory, by descriptor. ``index`` tells layers apart in inode numbers."""

    __slots__ = ("fd", "index", "opaque", "owners", "writable")

    def __init__(self, fd: int, index: int, *, writable: bool = False, owners: bool = False) -> None:
        self.fd = fd
        self.index = index
        self.writable = writable
        self.owners = owners
        self.opaque: frozenset[bytes] = frozenset()

    def find_opaque(self) -> None:
        """Note the directories that are opaque by an attribute which only the host's root can read."""
        found: list[bytes] = []
        for root, directories, _files, fd in os.fwalk(b".", dir_fd=self.fd):
            try:
                if os.getxattr(fd, OPAQUE[1]) == b"y":
                    found.append(root[2:])
            except OSError as error:
                if error.errno not in (E.ENODATA, E.EOPNOTSUPP, E.EPERM):
                    raise
            directories.sort()
        self.opaque = frozenset(found)

    def stat(self, path: bytes) -> os.stat_result | None:
        """The attributes of PATH, None if there is no such file."""
        try:
            return os.stat(path or b".", dir_fd=self.fd, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def open(self, path: bytes, flags: int) -> int:
        return os.open(path or b".", flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)

    def attribute(self, path: bytes, name: bytes) -> bytes | None:
        """An extended attribute of PATH, which is no symbolic link."""
        try:
            fd = self.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            return os.getxattr(fd, name)
        except OSError:
            return None
        finally:
            os.close(fd)

    def set_attribute(self, path: bytes, name: bytes, value: bytes) -> None:
        fd = self.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            os.setxattr(fd, name, value)
        finally:
            os.close(fd)

    def is_whiteout(self, path: bytes, found: os.stat_result) -> bool:
        if S.S_ISCHR(found.st_mode):
            return found.st_rdev == 0
        return (
            S.S_ISREG(found.st_mode)
            and found.st_size == 0
            and self.owners
            and self.attribute(path, WHITEOUT) is not None
        )

    def is_opaque(self, path: bytes) -> bool:
        return path in self.opaque or self.attribute(path, OPAQUE[0]) == b"y"

    def scan(self, path: bytes) -> list[tuple[bytes, int, int]]:
        """Name, inode number and type of every entry; a whiteout has type 0."""
        fd = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        entries: list[tuple[bytes, int, int]] = []
        try:
            with os.scandir(fd) as listing:
                for entry in listing:
                    name = os.fsencode(entry.name)
                    if entry.is_symlink():
                        kind = S.S_IFLNK
                    elif entry.is_dir(follow_symlinks=False):
                        kind = S.S_IFDIR
                    elif entry.is_file(follow_symlinks=False) and not self.owners:
                        kind = S.S_IFREG
                    else:
                        found = entry.stat(follow_symlinks=False)
                        whiteout = self.is_whiteout(path + b"/" + name if path else name, found)
                        kind = 0 if whiteout else S.S_IFMT(found.st_mode)
                    entries.append((name, self.number(entry.inode()), kind))
        finally:
            os.close(fd)
        return entries

    def number(self, host: int) -> int:
        """The inode number shown for the host's."""
        return host ^ self.index << 48
