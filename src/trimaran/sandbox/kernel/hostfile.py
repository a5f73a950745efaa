"""Descriptors of the host that a sandbox was given: its standard streams."""

from __future__ import annotations

import errno as E
import os
import select
import stat as S

from trimaran.sandbox.kernel.anonymous import PIPES
from trimaran.sandbox.kernel.file import POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM, File
from trimaran.sandbox.kernel.outcome import Fail
from trimaran.sandbox.kernel.vfs.inode import Inode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.sandbox.kernel.kernel import Kernel
    from trimaran.sandbox.kernel.task import Task

STEP = 4096
"""What a pipe that is ready for writing takes without waiting (PIPE_BUF)."""
EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET


class HostStream(File):
    """A pipe, terminal or socket of the host, used without ever waiting for it and without changing it."""

    __slots__ = ("fd", "kernel", "watched")

    def __init__(self, kernel: Kernel, fd: int, flags: int) -> None:
        super().__init__(flags, Inode(PIPES, S.S_IFIFO | 0o600))
        self.fd = fd
        self.kernel = kernel
        self.watched = False

    def _watch(self) -> None:
        if not self.watched:
            self.watched = True
            self.kernel.watch(self.fd, EVENTS, lambda events: self.waiters.wake())

    def _ready(self, events: int) -> int:
        poller = select.poll()
        poller.register(self.fd, events)
        found = poller.poll(0)
        return found[0][1] if found else 0

    def read(self, task: Task, size: int) -> bytes:
        if not self._ready(select.POLLIN):
            self._watch()
            if not self._ready(select.POLLIN):
                raise self.would_block()
        return os.read(self.fd, size)

    def write(self, task: Task, data: bytes) -> int:
        found = self._ready(select.POLLOUT)
        if found & select.POLLERR:
            raise Fail(E.EPIPE)
        if not found:
            self._watch()
            if not self._ready(select.POLLOUT):
                raise self.would_block()
        try:
            return os.write(self.fd, data[:STEP])
        except BrokenPipeError:
            raise Fail(E.EPIPE) from None

    def poll(self) -> int:
        self._watch()
        found = self._ready(select.POLLIN | select.POLLOUT)
        mask = POLLIN | POLLRDNORM if found & select.POLLIN else 0
        mask |= POLLOUT | POLLWRNORM if found & select.POLLOUT else 0
        return mask | found & (POLLHUP | POLLERR)

    def describe(self) -> bytes:
        return b"pipe:[%d]" % self.inode.ino

    def release(self) -> None:
        if self.watched:
            self.kernel.unwatch(self.fd)
        os.close(self.fd)


class HostFile(HostStream):
    """A regular file or /dev/null of the host as a standard stream: always ready."""

    __slots__ = ()

    def _ready(self, events: int) -> int:
        return select.POLLIN | select.POLLOUT

    def _watch(self) -> None:
        pass

    def write(self, task: Task, data: bytes) -> int:
        return os.write(self.fd, data)


def host_file(kernel: Kernel, fd: int, flags: int) -> File:
    """A file for descriptor FD of the host, which it then owns."""
    mode = os.fstat(fd).st_mode
    try:
        name = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        name = ""
    if S.S_ISREG(mode) or name == "/dev/null":
        return HostFile(kernel, fd, flags)
    return HostStream(kernel, fd, flags)
