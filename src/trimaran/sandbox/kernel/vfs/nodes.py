"""A file system of nodes that are made in memory: /dev, and the base of /proc and /sys."""

from __future__ import annotations

import errno as E
import os
import stat as S

from trimaran.sandbox.kernel import device
from trimaran.sandbox.kernel.file import O_ACCMODE, O_RDONLY, File
from trimaran.sandbox.kernel.outcome import Fail
from trimaran.sandbox.kernel.vfs.inode import Dentry, FileSystem, Inode, now
from trimaran.sandbox.kernel.vfs.opening import DirectoryFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trimaran.sandbox.kernel.task import Task


class Link(Inode):
    """A symbolic link with a fixed text."""

    __slots__ = ("target",)

    def __init__(self, fs: FileSystem, target: bytes) -> None:
        super().__init__(fs, S.S_IFLNK | 0o777)
        self.target = target
        self.size = len(target)

    def readlink(self, task: Task) -> bytes:
        return self.target


class Device(Inode):
    """A character device."""

    __slots__ = ()

    def open(self, task: Task, flags: int, dentry: Dentry) -> File:
        return device.open_special(task, self, flags, dentry)


class Directory(Inode):
    """A directory of nodes. With ``open_to_all``, programs may make and remove entries."""

    __slots__ = ("children", "open_to_all")

    def __init__(self, fs: FileSystem, mode: int = 0o755, *, open_to_all: bool = False) -> None:
        super().__init__(fs, S.S_IFDIR | mode)
        self.children: dict[bytes, Inode] = {}
        self.open_to_all = open_to_all

    def lookup(self, name: bytes) -> Inode | None:
        return self.children.get(name)

    def entries(self) -> Iterable[tuple[bytes, int, int]]:
        return [(name, node.ino, S.S_IFMT(node.mode)) for name, node in self.children.items()]

    def open(self, task: Task, flags: int, dentry: Dentry) -> File:
        return DirectoryFile(flags, self, dentry)

    def _add(self, task: Task, dentry: Dentry, node: Inode) -> Inode:
        if not self.open_to_all:
            raise Fail(E.EACCES)
        node.uid, node.gid = task.process.cred.fsuid, task.process.cred.fsgid
        self.children[dentry.name] = node
        self.mtime = now()
        return node

    def create(self, task: Task, dentry: Dentry, mode: int, rdev: int = 0) -> Inode:
        if S.S_ISREG(mode):
            return self._add(task, dentry, task.process.kernel.namespace.memory_inode(mode))
        node = Device(self.fs, mode, rdev=rdev)
        return self._add(task, dentry, node)

    def make_directory(self, task: Task, dentry: Dentry, mode: int) -> Inode:
        return self._add(task, dentry, Directory(self.fs, mode, open_to_all=True))

    def symlink(self, task: Task, dentry: Dentry, target: bytes) -> Inode:
        return self._add(task, dentry, Link(self.fs, target))

    def unlink(self, dentry: Dentry) -> None:
        if not self.open_to_all:
            raise Fail(E.EPERM)
        self.children.pop(dentry.name, None)
        dentry.inode.nlink -= 1

    def remove_directory(self, dentry: Dentry) -> None:
        self.unlink(dentry)

    def rename(self, old: Dentry, new: Dentry, exchange: bool) -> None:
        target = new.parent.inode if new.parent else None
        if not self.open_to_all or exchange or not isinstance(target, Directory) or not target.open_to_all:
            raise Fail(E.EPERM)
        target.children[new.name] = self.children.pop(old.name)


class TextFile(File):
    """A file whose text is made when it is opened, or read from the start again."""

    __slots__ = ("text",)
    seekable = True
    inode: Text

    def __init__(self, flags: int, inode: Text, dentry: Dentry, task: Task) -> None:
        super().__init__(flags, inode, dentry)
        self.text: bytes | None = None

    def _slice(self, task: Task, offset: int, size: int) -> bytes:
        if self.text is None or offset == 0:
            self.text = self.inode.make(task)
        return self.text[offset : offset + size]

    def read(self, task: Task, size: int) -> bytes:
        data = self._slice(task, self.offset, size)
        self.offset += len(data)
        return data

    def pread_into(self, task: Task, address: int, size: int, offset: int) -> int:
        data = self._slice(task, offset, size)
        task.process.kernel.put(task, address, data)
        return len(data)

    def write(self, task: Task, data: bytes) -> int:
        if self.inode.accept is None:
            raise Fail(E.EINVAL)
        self.inode.accept(task, data)
        return len(data)

    def pwrite_from(self, task: Task, address: int, size: int, offset: int) -> int:
        return self.write_from(task, address, size)

    def seek(self, task: Task, offset: int, whence: int) -> int:
        if whence == 1:
            offset += self.offset
        elif whence:
            raise Fail(E.EINVAL)
        if offset < 0:
            raise Fail(E.EINVAL)
        self.offset = offset
        return offset

    def describe(self) -> bytes:
        return self.dentry.path() if self.dentry else b"/proc"


class Text(Inode):
    """A file with made text; ``accept`` takes what is written, None if nothing may be."""

    __slots__ = ("accept", "make")

    def __init__(
        self,
        fs: FileSystem,
        make: Callable[[Task], bytes],
        mode: int = 0o444,
        accept: Callable[[Task, bytes], None] | None = None,
    ) -> None:
        super().__init__(fs, S.S_IFREG | mode)
        self.make = make
        self.accept = accept

    def open(self, task: Task, flags: int, dentry: Dentry) -> File:
        if flags & O_ACCMODE != O_RDONLY and self.accept is None:
            raise Fail(E.EACCES)
        return TextFile(flags, self, dentry, task)

    def truncate(self, size: int) -> None:
        pass


class NodeFs(FileSystem):
    """A tree of nodes."""

    def __init__(self, kind: bytes, magic: int, mode: int = 0o755, *, open_to_all: bool = False) -> None:
        super().__init__()
        self.kind = kind
        self.magic = magic
        self.top = Directory(self, mode, open_to_all=open_to_all)
        self.root = self.top

    def zero_fd(self) -> int:
        """Something of the host to map in place of /dev/zero."""
        return os.open("/dev/zero", os.O_RDWR | os.O_CLOEXEC)


def make_dev(terminals: Directory | None) -> NodeFs:
    """What a container finds in /dev."""
    fs = NodeFs(b"tmpfs", 0x01021994, open_to_all=True)
    top = fs.top.children
    for name, major, minor in (
        *((b"null", 1, 3), (b"zero", 1, 5), (b"full", 1, 7), (b"random", 1, 8), (b"urandom", 1, 9)),
        *((b"tty", 5, 0), (b"ptmx", 5, 2)),
    ):
        top[name] = Device(fs, S.S_IFCHR | 0o666, rdev=os.makedev(major, minor))
    for name, target in (
        *((b"fd", b"/proc/self/fd"), (b"stdin", b"/proc/self/fd/0"), (b"stdout", b"/proc/self/fd/1")),
        (b"stderr", b"/proc/self/fd/2"),
    ):
        top[name] = Link(fs, target)
    for name in (b"pts", b"shm", b"mqueue"):
        top[name] = Directory(fs)
    return fs
