"""Character devices by number, and the other special files of a file system (null(4), random(4))."""

from __future__ import annotations

import errno as E
import os
import stat as S

from trimaran.sandbox.kernel.file import CHUNK, File
from trimaran.sandbox.kernel.outcome import Fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.sandbox.kernel.task import Task
    from trimaran.sandbox.kernel.vfs.inode import Dentry, Inode


class DeviceFile(File):
    __slots__ = ()
    seekable = True

    def seek(self, task: Task, offset: int, whence: int) -> int:
        self.offset = 0
        return 0

    def pread_into(self, task: Task, address: int, size: int, offset: int) -> int:
        return self.read_into(task, address, size)

    def pwrite_from(self, task: Task, address: int, size: int, offset: int) -> int:
        return self.write_from(task, address, size)

    def describe(self) -> bytes:
        return self.dentry.path() if self.dentry else b"/dev/null"


class NullFile(DeviceFile):
    __slots__ = ()

    def read(self, task: Task, size: int) -> bytes:
        return b""

    def write(self, task: Task, data: bytes) -> int:
        return len(data)

    def write_from(self, task: Task, address: int, size: int) -> int:
        return size


class ZeroFile(NullFile):
    __slots__ = ()

    def read(self, task: Task, size: int) -> bytes:
        return bytes(min(size, CHUNK))

    def host_fd(self, writable: bool) -> int:
        return self.inode.fs.zero_fd()  # type: ignore[attr-defined,no-any-return]


class FullFile(ZeroFile):
    __slots__ = ()

    def write_from(self, task: Task, address: int, size: int) -> int:
        raise Fail(E.ENOSPC)

    def write(self, task: Task, data: bytes) -> int:
        raise Fail(E.ENOSPC)


class RandomFile(NullFile):
    __slots__ = ()

    def read(self, task: Task, size: int) -> bytes:
        return task.process.kernel.random_bytes(min(size, CHUNK))

    def ioctl(self, task: Task, command: int, argument: int) -> int:
        if command == 0x80045200:
            task.process.kernel.put(task, argument, (256).to_bytes(4, "little"))
            return 0
        raise Fail(E.EINVAL)


SIMPLE = {(1, 3): NullFile, (1, 5): ZeroFile, (1, 7): FullFile, (1, 8): RandomFile, (1, 9): RandomFile}


def open_special(task: Task, inode: Inode, flags: int, dentry: Dentry) -> File:
    """Open a device or FIFO by its kind and number. Raises Fail(ENXIO) for those that do not exist."""
    kind = S.S_IFMT(inode.mode)
    if kind == S.S_IFIFO:
        from trimaran.sandbox.kernel.pipe import open_fifo

        return open_fifo(task, inode, flags, dentry)
    if kind != S.S_IFCHR:
        raise Fail(E.ENXIO)
    number = os.major(inode.rdev), os.minor(inode.rdev)
    simple = SIMPLE.get(number)
    if simple is not None:
        return simple(flags, inode, dentry)
    if number == (5, 0):
        from trimaran.sandbox.kernel.tty import open_controlling

        return open_controlling(task, flags)
    if number == (5, 2):
        from trimaran.sandbox.kernel.tty import open_master

        return open_master(task, flags, dentry)
    if number[0] == 136:
        from trimaran.sandbox.kernel.tty import open_slave

        return open_slave(task, number[1], flags, dentry)
    raise Fail(E.ENXIO)
