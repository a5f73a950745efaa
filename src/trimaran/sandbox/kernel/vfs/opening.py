"""Open files of a layered file system: regular files and directories (read(2), getdents64(2))."""

from __future__ import annotations

import errno as E
import os
import stat as S
import struct

from trimaran.linux import _sys
from trimaran.sandbox.kernel import device
from trimaran.sandbox.kernel.file import O_ACCMODE, O_APPEND, O_RDONLY, File
from trimaran.sandbox.kernel.outcome import Fail
from trimaran.sandbox.kernel.vfs.inode import Dentry, Inode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.sandbox.kernel.task import Task
    from trimaran.sandbox.kernel.vfs.layered import LayerInode

O_TRUNC, O_PATH = 0x200, 0x200000
MAX_OFFSET = (1 << 63) - 1
MAX_RW = 0x7FFFF000


def open_inode(inode: LayerInode, task: Task, flags: int, dentry: Dentry) -> File:
    """The open file description for INODE, whatever kind it is."""
    kind = S.S_IFMT(inode.mode)
    if kind == S.S_IFREG:
        if flags & O_ACCMODE != O_RDONLY or flags & O_TRUNC:
            inode.writable()
        file = RegularFile(flags, inode, dentry)
        if flags & O_TRUNC:
            os.ftruncate(inode.host, 0)
        return file
    if kind == S.S_IFDIR:
        return DirectoryFile(flags, inode, dentry)
    return device.open_special(task, inode, flags, dentry)


class RegularFile(File):
    """A regular file; the host's page cache holds its content."""

    __slots__ = ("host",)
    seekable = True
    inode: LayerInode

    def __init__(self, flags: int, inode: LayerInode, dentry: Dentry | None) -> None:
        super().__init__(flags, inode, dentry)
        self.host = inode.acquire()

    def read_into(self, task: Task, address: int, size: int) -> int:
        if not size:
            return 0
        done = _sys.vm_from_file(self.inode.host, self.offset, task.tid, address, min(size, MAX_RW))
        self.offset += done
        return done

    def pread_into(self, task: Task, address: int, size: int, offset: int) -> int:
        return _sys.vm_from_file(self.inode.host, offset, task.tid, address, min(size, MAX_RW))

    def write_from(self, task: Task, address: int, size: int) -> int:
        if self.flags & O_APPEND:
            self.offset = os.fstat(self.inode.host).st_size
        done = self.pwrite_from(task, address, size, self.offset)
        self.offset += done
        return done

    def pwrite_from(self, task: Task, address: int, size: int, offset: int) -> int:
        size = self.room(task, offset, min(size, MAX_RW))
        if not size:
            return 0
        return _sys.vm_to_file(self.inode.host, offset, task.tid, address, size)

    def room(self, task: Task, offset: int, size: int) -> int:
        """How much of SIZE the file size limit lets through. Raises Fail(EFBIG) if nothing."""
        limit = task.process.limits[1][0]
        if offset + size > limit:
            if offset >= limit and size:
                task.process.kernel.signals.send(task.process, 25)
                raise Fail(E.EFBIG)
            return limit - offset
        return size

    def read(self, task: Task, size: int) -> bytes:
        data = os.pread(self.inode.host, size, self.offset)
        self.offset += len(data)
        return data

    def write(self, task: Task, data: bytes) -> int:
        if self.flags & O_APPEND:
            self.offset = os.fstat(self.inode.host).st_size
        size = self.room(task, self.offset, len(data))
        done = os.pwrite(self.inode.host, data[:size], self.offset)
        self.offset += done
        return done

    def seek(self, task: Task, offset: int, whence: int) -> int:
        if whence == 0:
            new = offset
        elif whence == 1:
            new = self.offset + offset
        elif whence in (2, 3, 4):
            if whence > 2 and offset < 0:
                raise Fail(E.ENXIO)
            if whence == 2:
                new = os.fstat(self.inode.host).st_size + offset
            else:
                new = os.lseek(self.inode.host, offset, whence)
        else:
            raise Fail(E.EINVAL)
        if new < 0:
            raise Fail(E.EINVAL)
        if new > MAX_OFFSET:
            raise Fail(E.EOVERFLOW)
        self.offset = new
        return new

    def host_fd(self, writable: bool) -> int:
        return self.inode.host

    def describe(self) -> bytes:
        return self.dentry.path() if self.dentry else b"/ (deleted)"

    def release(self) -> None:
        self.inode.disown()


class DirectoryFile(File):
    """An open directory. Its entries are taken when it is first read, and again after a rewind."""

    __slots__ = ("listing",)
    seekable = True

    def __init__(self, flags: int, inode: Inode, dentry: Dentry) -> None:
        super().__init__(flags, inode, dentry)
        self.listing: list[tuple[bytes, int, int]] | None = None

    def read_into(self, task: Task, address: int, size: int) -> int:
        raise Fail(E.EISDIR)

    def pread_into(self, task: Task, address: int, size: int, offset: int) -> int:
        raise Fail(E.EISDIR)

    def seek(self, task: Task, offset: int, whence: int) -> int:
        if whence == 1:
            offset += self.offset
        elif whence:
            raise Fail(E.EINVAL)
        if offset < 0:
            raise Fail(E.EINVAL)
        if offset == 0:
            self.listing = None
        self.offset = offset
        return offset

    def records(self, size: int) -> bytes:
        """The next records of getdents64 that fit into SIZE bytes. Raises Fail(EINVAL) if none does."""
        dentry = self.dentry
        assert dentry is not None
        if dentry.deleted:
            raise Fail(E.ENOENT)
        if self.listing is None:
            above = dentry.parent or dentry
            dots = [(b".", self.inode.ino, S.S_IFDIR), (b"..", above.inode.ino, S.S_IFDIR)]
            self.listing = dots + list(self.inode.entries())
        out: list[bytes] = []
        used = 0
        for name, number, kind in self.listing[self.offset :]:
            length = (19 + len(name) + 1 + 7) & ~7
            if used + length > size:
                if not out:
                    raise Fail(E.EINVAL)
                break
            self.offset += 1
            out.append(struct.pack("=QqHB", number, self.offset, length, kind >> 12))
            out.append(name.ljust(length - 19, b"\0"))
            used += length
        return b"".join(out)

    def describe(self) -> bytes:
        return self.dentry.path() if self.dentry else b"/"
