"""Pipes and FIFOs (pipe(7), fifo(7))."""

from __future__ import annotations

import errno as E
import struct

from trimaran.linux import _sys
from trimaran.sandbox.kernel.anonymous import PIPES
from trimaran.sandbox.kernel.file import (
    O_ACCMODE,
    O_NONBLOCK,
    O_RDONLY,
    O_RDWR,
    O_WRONLY,
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLRDNORM,
    POLLWRNORM,
    File,
)
from trimaran.sandbox.kernel.outcome import Block, Fail
from trimaran.sandbox.kernel.task import Task
from trimaran.sandbox.kernel.vfs.inode import Dentry, Inode
from trimaran.sandbox.kernel.waiting import WaitQueue

CAPACITY = 65536
ATOMIC = 4096
MAX_CAPACITY = 1 << 20
FIONREAD = 0x541B
F_SETPIPE_SZ, F_GETPIPE_SZ = 1031, 1032


class Pipe:
    """The bytes between two ends."""

    __slots__ = ("capacity", "chunks", "opened", "readable", "readers", "size", "writable", "writers")

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.size = 0
        self.capacity = CAPACITY
        self.readers = self.writers = 0
        self.readable = WaitQueue()
        self.writable = WaitQueue()
        self.opened = WaitQueue()

    def take(self, size: int) -> bytes:
        """Up to SIZE bytes from the front."""
        chunks = self.chunks
        first = chunks[0]
        if len(chunks) == 1 and len(first) <= size:
            chunks.clear()
            data = first
        else:
            joined = b"".join(chunks)
            data = joined[:size]
            rest = joined[size:]
            chunks[:] = [rest] if rest else []
        self.size -= len(data)
        self.writable.wake()
        return data

    def push(self, data: bytes) -> None:
        self.chunks.append(data)
        self.size += len(data)
        self.readable.wake()


class PipeFile(File):
    """One end, or both of a FIFO that was opened for both."""

    __slots__ = ("pipe",)

    def __init__(self, flags: int, inode: Inode, pipe: Pipe, dentry: Dentry | None = None) -> None:
        super().__init__(flags, inode, dentry)
        self.pipe = pipe
        mode = flags & O_ACCMODE
        if mode != O_WRONLY:
            pipe.readers += 1
        if mode != O_RDONLY:
            pipe.writers += 1

    def read(self, task: Task, size: int) -> bytes:
        pipe = self.pipe
        if not size:
            return b""
        if pipe.size:
            return pipe.take(size)
        if not pipe.writers:
            return b""
        raise self.would_block(pipe.readable)

    def unread(self, data: bytes) -> None:
        """Put back what could not be passed on."""
        self.pipe.chunks.insert(0, data)
        self.pipe.size += len(data)

    def peek(self, size: int) -> bytes:
        return b"".join(self.pipe.chunks)[:size]

    def write(self, task: Task, data: bytes) -> int:
        pipe = self.pipe
        if not pipe.readers:
            raise Fail(E.EPIPE)
        room = pipe.capacity - pipe.size
        if not data:
            return 0
        if room <= 0 or (len(data) <= ATOMIC and room < len(data)):
            raise self.would_block(pipe.writable)
        part = data[:room] if len(data) > room else data
        pipe.push(part)
        return len(part)

    def poll(self) -> int:
        pipe, mode, mask = self.pipe, self.flags & O_ACCMODE, 0
        if mode != O_WRONLY:
            if pipe.size:
                mask |= POLLIN | POLLRDNORM
            if not pipe.writers:
                mask |= POLLHUP
        if mode != O_RDONLY:
            if pipe.capacity - pipe.size >= ATOMIC:
                mask |= POLLOUT | POLLWRNORM
            if not pipe.readers:
                mask |= POLLERR
        return mask

    def queues(self) -> tuple[WaitQueue, ...]:
        """What to wait on for a change of :meth:`poll`."""
        mode = self.flags & O_ACCMODE
        if mode == O_RDONLY:
            return (self.pipe.readable,)
        return (self.pipe.writable,) if mode == O_WRONLY else (self.pipe.readable, self.pipe.writable)

    def ioctl(self, task: Task, command: int, argument: int) -> int:
        if command == FIONREAD:
            task.process.kernel.put(task, argument, struct.pack("=i", self.pipe.size))
            return 0
        return super().ioctl(task, command, argument)

    def control(self, task: Task, command: int, argument: int) -> int:
        if command == F_GETPIPE_SZ:
            return self.pipe.capacity
        if command == F_SETPIPE_SZ:
            size = 4096
            while size < argument:
                size *= 2
            if size > MAX_CAPACITY:
                raise Fail(E.EPERM)
            if size < self.pipe.size:
                raise Fail(E.EBUSY)
            self.pipe.capacity = size
            self.pipe.writable.wake()
            return size
        raise Fail(E.EINVAL)

    def reopen(self, flags: int) -> PipeFile:
        """Another end of the same pipe, for /proc/PID/fd."""
        return PipeFile(flags, self.inode, self.pipe)

    def describe(self) -> bytes:
        return self.dentry.path() if self.dentry else b"pipe:[%d]" % self.inode.ino

    def release(self) -> None:
        pipe, mode = self.pipe, self.flags & O_ACCMODE
        if mode != O_WRONLY:
            pipe.readers -= 1
            if not pipe.readers:
                pipe.writable.wake()
        if mode != O_RDONLY:
            pipe.writers -= 1
            if not pipe.writers:
                pipe.readable.wake()


def sys_pipe(task: Task, address: int, *_: int) -> int:
    return sys_pipe2(task, address, 0)


def sys_pipe2(task: Task, address: int, flags: int, *_: int) -> int:
    if flags & ~(O_NONBLOCK | 0x80000 | 0x4000):
        raise Fail(E.EINVAL)
    inode, pipe = Inode(PIPES, 0o010600), Pipe()
    inode.uid, inode.gid = task.process.cred.fsuid, task.process.cred.fsgid
    cloexec, kept = bool(flags & 0x80000), flags & (O_NONBLOCK | 0x4000)
    reader = task.install(PipeFile(O_RDONLY | kept, inode, pipe), cloexec=cloexec)
    try:
        writer = task.install(PipeFile(O_WRONLY | kept, inode, pipe), cloexec=cloexec)
    except Fail:
        task.process.files.remove(reader).drop()
        raise
    if _sys.vm_write(task.tid, address, struct.pack("=ii", reader, writer)) != 8:
        raise Fail(E.EFAULT)
    return 0


def open_fifo(task: Task, inode: Inode, flags: int, dentry: Dentry) -> File:
    """Opening a FIFO waits for the other side."""
    pipe: Pipe | None = getattr(inode, "pipe", None)
    if pipe is None:
        pipe = Pipe()
        inode.pipe = pipe  # type: ignore[attr-defined]
    mode = flags & O_ACCMODE
    if task.state is not None:
        file = task.state
        assert isinstance(file, PipeFile)
        if (pipe.writers if mode == O_RDONLY else pipe.readers) or file.inode.nlink < 0:
            file.refs -= 1
            return file
        raise Block((pipe.opened,))
    if mode == O_WRONLY and flags & O_NONBLOCK and not pipe.readers:
        raise Fail(E.ENXIO)
    file = PipeFile(flags, inode, pipe, dentry)
    pipe.opened.wake()
    others = pipe.writers if mode == O_RDONLY else pipe.readers
    if mode == O_RDWR or flags & O_NONBLOCK or others:
        return file
    file.refs += 1
    task.state = file
    raise Block((pipe.opened,))
