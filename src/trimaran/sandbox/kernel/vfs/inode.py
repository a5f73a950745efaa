"""Inodes, names and mounts (inode(7), path_resolution(7))."""

from __future__ import annotations

import errno as E
import itertools
import stat as S
import time

from trimaran.sandbox.kernel.outcome import Fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from trimaran.sandbox.kernel.file import File
    from trimaran.sandbox.kernel.locks import Locks
    from trimaran.sandbox.kernel.notify_files import Watch
    from trimaran.sandbox.kernel.task import Task

_numbers = itertools.count(2)


def now() -> int:
    """The time that goes into inodes, in nanoseconds."""
    return time.time_ns()


class FileSystem:
    """What lies behind a mount. ``kind`` is its name in /proc/mounts, ``magic`` its number in statfs(2)."""

    kind = b"none"
    magic = 0x01021994
    device = 0
    read_only = False
    root: Inode

    _devices = itertools.count(0x20)

    def __init__(self) -> None:
        self.device = next(FileSystem._devices)

    def statfs(self) -> tuple[int, int, int, int, int, int]:
        """Block size, blocks, free and available blocks, inodes, free inodes."""
        return 4096, 1 << 20, 1 << 19, 1 << 19, 1 << 20, 1 << 19

    def sync(self) -> None:
        """Bring what is in memory to where it is kept."""


class Inode:
    """A file of any kind. Subclasses say what it can do; times are in nanoseconds."""

    __slots__ = (
        "__weakref__",
        "atime",
        "ctime",
        "fs",
        "gid",
        "ino",
        "locks",
        "mode",
        "mtime",
        "nlink",
        "rdev",
        "size",
        "uid",
        "watches",
    )

    def __init__(self, fs: FileSystem, mode: int, uid: int = 0, gid: int = 0, rdev: int = 0) -> None:
        self.fs = fs
        self.ino = next(_numbers)
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.rdev = rdev
        self.nlink = 2 if S.S_ISDIR(mode) else 1
        self.size = 0
        self.atime = self.mtime = self.ctime = now()
        self.locks: Locks | None = None
        self.watches: list[Watch] | None = None

    def named(self, dentry: Dentry) -> None:
        """DENTRY now leads here."""

    def refresh(self) -> None:
        """Bring size and times up to date before they are shown."""

    def lookup(self, name: bytes) -> Inode | None:
        """The entry NAME of this directory."""
        raise Fail(E.ENOTDIR)

    def entries(self) -> Iterable[tuple[bytes, int, int]]:
        """Name, inode number and type (of the mode) of every entry but . and .."""
        raise Fail(E.ENOTDIR)

    def readlink(self, task: Task) -> bytes:
        raise Fail(E.EINVAL)

    def follow(self, task: Task) -> Dentry | None:
        """Where a magic link leads, for those that are not resolved by their text."""
        return None

    def open(self, task: Task, flags: int, dentry: Dentry) -> File:
        raise Fail(E.ENXIO)

    def create(self, task: Task, dentry: Dentry, mode: int, rdev: int = 0) -> Inode:
        """Make the file, device, socket or FIFO that DENTRY is to name in this directory."""
        raise Fail(E.EACCES)

    def make_directory(self, task: Task, dentry: Dentry, mode: int) -> Inode:
        raise Fail(E.EACCES)

    def symlink(self, task: Task, dentry: Dentry, target: bytes) -> Inode:
        raise Fail(E.EACCES)

    def link(self, dentry: Dentry, old: Dentry) -> Inode:
        raise Fail(E.EPERM)

    def unlink(self, dentry: Dentry) -> None:
        raise Fail(E.EPERM)

    def remove_directory(self, dentry: Dentry) -> None:
        raise Fail(E.EPERM)

    def rename(self, old: Dentry, new: Dentry, exchange: bool) -> None:
        """OLD lies in this directory; NEW names the place, with what is there already."""
        raise Fail(E.EXDEV)

    def temporary(self, task: Task, mode: int) -> Inode:
        """For O_TMPFILE."""
        raise Fail(E.EOPNOTSUPP)

    def set_mode(self, mode: int) -> None:
        self.mode = mode
        self.ctime = now()

    def set_owner(self, uid: int, gid: int) -> None:
        self.uid = uid
        self.gid = gid
        self.ctime = now()

    def set_times(self, atime: int, mtime: int) -> None:
        self.atime = atime
        self.mtime = mtime
        self.ctime = now()

    def truncate(self, size: int) -> None:
        raise Fail(E.EINVAL)

    def get_attribute(self, name: bytes) -> bytes:
        raise Fail(E.EOPNOTSUPP)

    def set_attribute(self, name: bytes, value: bytes, flags: int) -> None:
        raise Fail(E.EOPNOTSUPP)

    def list_attributes(self) -> list[bytes]:
        return []

    def remove_attribute(self, name: bytes) -> None:
        raise Fail(E.EOPNOTSUPP)

    @property
    def is_dir(self) -> bool:
        return self.mode & 0o170000 == 0o040000

    @property
    def is_link(self) -> bool:
        return self.mode & 0o170000 == 0o120000

    @property
    def is_regular(self) -> bool:
        return self.mode & 0o170000 == 0o100000


class Dentry:
    """A name in a directory. ``children`` caches names, None standing for "no such name".

    ``mounted`` is the root of what is mounted here; a root's ``covers`` is the name that it covers.
    """

    __slots__ = ("children", "covers", "deleted", "inode", "mount", "mounted", "name", "parent")

    def __init__(self, name: bytes, parent: Dentry | None, inode: Inode, mount: Mount) -> None:
        self.name = name
        self.parent = parent
        self.inode = inode
        self.mount = mount
        self.children: dict[bytes, Dentry | None] = {}
        self.mounted: Dentry | None = None
        self.covers: Dentry | None = None
        self.deleted = False
        inode.named(self)

    def child(self, name: bytes) -> Dentry | None:
        """The entry NAME, mounts not entered."""
        try:
            return self.children[name]
        except KeyError:
            pass
        inode = self.inode.lookup(name)
        dentry = Dentry(name, self, inode, self.mount) if inode is not None else None
        if self.mount.cached:
            self.children[name] = dentry
        return dentry

    def path(self, root: Dentry | None = None) -> bytes:
        """The absolute path, as seen from ROOT."""
        parts: list[bytes] = []
        at: Dentry | None = self
        while at is not None and at is not root:
            if at.parent is None:
                at = at.covers
                continue
            parts.append(at.name)
            at = at.parent
        text = b"/" + b"/".join(reversed(parts))
        return text + b" (deleted)" if self.deleted else text


class Mount:
    """A file system in its place. ``cached`` is false where others change it behind our back."""

    __slots__ = ("cached", "flags", "fs", "id", "noexec", "read_only", "root", "source")

    _ids = itertools.count(20)

    def __init__(self, fs: FileSystem, *, read_only: bool = False, source: bytes = b"none") -> None:
        self.fs = fs
        self.id = next(Mount._ids)
        self.read_only = read_only
        self.cached = True
        self.source = source
        self.noexec = False
        self.flags = 0
        self.root = Dentry(b"", None, fs.root, self)
