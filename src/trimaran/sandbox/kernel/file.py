"""Open file descriptions and descriptor tables (open(2), dup(2))."""

from __future__ import annotations

import errno as E

from trimaran.linux import _sys
from trimaran.sandbox.kernel.outcome import Block, Fail
from trimaran.sandbox.kernel.waiting import WaitQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.sandbox.kernel.task import Task
    from trimaran.sandbox.kernel.vfs.inode import Dentry, Inode

O_ACCMODE, O_RDONLY, O_WRONLY, O_RDWR = 3, 0, 1, 2
O_APPEND, O_NONBLOCK, O_ASYNC, O_PATH = 0x400, 0x800, 0x2000, 0x200000
POLLIN, POLLPRI, POLLOUT, POLLERR, POLLHUP, POLLNVAL, POLLRDHUP = 1, 2, 4, 8, 16, 32, 0x2000
POLLRDNORM, POLLWRNORM = 0x40, 0x100
CHUNK = 1 << 20
"""The most that one read or write of a stream moves."""


class File:
    """An open file description. Subclasses override what they can do; the rest fails as on Linux.

    ``inode`` is what fstat shows; ``dentry`` is set for files that were opened by name.
    """

    __slots__ = ("dentry", "flags", "inode", "offset", "owner", "refs", "signal", "waiters")

    seekable = False

    def __init__(self, flags: int, inode: Inode, dentry: Dentry | None = None) -> None:
        self.flags = flags
        self.refs = 0
        self.inode = inode
        self.dentry = dentry
        self.offset = 0
        self.waiters = WaitQueue()
        self.owner = 0
        self.signal = 0

    def read(self, task: Task, size: int) -> bytes:
        """Up to SIZE bytes; b"" at the end. Raises Block or Fail."""
        raise Fail(E.EINVAL)

    def write(self, task: Task, data: bytes) -> int:
        raise Fail(E.EINVAL)

    def unread(self, data: bytes) -> None:
        """Put back what was read and could not be passed on."""

    def read_into(self, task: Task, address: int, size: int) -> int:
        """read(2) into the task's memory."""
        data = self.read(task, min(size, CHUNK))
        if data and _sys.vm_write(task.tid, address, data) != len(data):
            raise Fail(E.EFAULT)
        return len(data)

    def write_from(self, task: Task, address: int, size: int) -> int:
        """write(2) from the task's memory."""
        return self.write(task, _sys.vm_read(task.tid, address, min(size, CHUNK)))

    def pread_into(self, task: Task, address: int, size: int, offset: int) -> int:
        raise Fail(E.ESPIPE)

    def pwrite_from(self, task: Task, address: int, size: int, offset: int) -> int:
        raise Fail(E.ESPIPE)

    def seek(self, task: Task, offset: int, whence: int) -> int:
        raise Fail(E.ESPIPE)

    def poll(self) -> int:
        """The events that hold now."""
        return POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM

    def ioctl(self, task: Task, command: int, argument: int) -> int:
        raise Fail(E.ENOTTY)

    def host_fd(self, writable: bool) -> int:
        """A descriptor of the host that can be mapped in place of this file. Raises Fail(ENODEV)."""
        raise Fail(E.ENODEV)

    def describe(self) -> bytes:
        """What /proc/PID/fd shows."""
        return b"anon_inode:[unknown]"

    def info(self) -> bytes:
        """More lines for /proc/PID/fdinfo."""
        return b""

    def release(self) -> None:
        """The last descriptor is gone."""

    def would_block(self, *queues: WaitQueue) -> Exception:
        """What to raise when there is nothing to read or no room to write."""
        if self.flags & O_NONBLOCK:
            return Fail(E.EAGAIN)
        return Block(queues or (self.waiters,))

    def hold(self) -> None:
        self.refs += 1

    def drop(self) -> None:
        self.refs -= 1
        if not self.refs:
            if self.inode.locks is not None:
                self.inode.locks.forget(self)
            self.release()


class FileTable:
    """The descriptors of a process, shared by the processes of CLONE_FILES.

    ``injected`` has the numbers at which a real descriptor was put, for a mapping.
    """

    __slots__ = ("cloexec", "files", "free", "injected", "sharers")

    def __init__(self) -> None:
        self.files: dict[int, File] = {}
        self.cloexec: set[int] = set()
        self.injected: set[int] = set()
        self.free = 0
        self.sharers = 1

    def get(self, fd: int) -> File:
        try:
            return self.files[fd & 0xFFFFFFFF]
        except KeyError:
            raise Fail(E.EBADF) from None

    def add(self, file: File, limit: int, *, cloexec: bool = False, lowest: int = 0) -> int:
        """The lowest free number from LOWEST. Raises Fail(EMFILE) at LIMIT."""
        fd = max(self.free, lowest)
        files = self.files
        while fd in files:
            fd += 1
        if fd >= limit:
            raise Fail(E.EMFILE)
        if lowest <= self.free:
            self.free = fd + 1
        self._place(fd, file, cloexec)
        return fd

    def _place(self, fd: int, file: File, cloexec: bool) -> None:
        file.refs += 1
        self.files[fd] = file
        if cloexec:
            self.cloexec.add(fd)

    def replace(self, fd: int, file: File, *, cloexec: bool) -> None:
        """dup2(2): put FILE at FD, dropping what was there."""
        old = self.files.get(fd)
        self.cloexec.discard(fd)
        self._place(fd, file, cloexec)
        if old is not None:
            old.drop()

    def remove(self, fd: int) -> File:
        """Take FD out; the caller drops the file. Raises Fail(EBADF)."""
        file = self.files.pop(fd, None)
        if file is None:
            raise Fail(E.EBADF)
        self.cloexec.discard(fd)
        if fd < self.free:
            self.free = fd
        return file

    def copy(self) -> FileTable:
        """For fork(2)."""
        new = FileTable()
        new.files = dict(self.files)
        new.cloexec = set(self.cloexec)
        new.injected = set(self.injected)
        new.free = self.free
        for file in new.files.values():
            file.refs += 1
        return new

    def close_on_exec(self) -> None:
        for fd in sorted(self.cloexec):
            self.remove(fd).drop()
        self.injected.clear()

    def leave(self) -> None:
        """One sharer ends; the last one closes everything."""
        self.sharers -= 1
        if not self.sharers:
            for fd in list(self.files):
                self.remove(fd).drop()
