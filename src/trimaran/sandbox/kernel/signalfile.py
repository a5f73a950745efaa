"""Signals read from a file (signalfd(2)). The signals stay with the host until they are read."""

from __future__ import annotations

import errno as E
import struct

from trimaran.linux import _sys
from trimaran.sandbox.kernel.anonymous import anonymous_inode
from trimaran.sandbox.kernel.file import O_NONBLOCK, O_RDWR, POLLIN, POLLRDNORM, File
from trimaran.sandbox.kernel.outcome import Answered, Fail
from trimaran.sandbox.kernel.signals import masks, s32
from trimaran.sandbox.kernel.task import Process, Task

CLOEXEC = 0x80000
RECORD = 128
SIGKILL_SIGSTOP = 1 << 8 | 1 << 18
SIGCHLD, SI_TIMER = 17, -2


class SignalFile(File):
    """``process`` is whose signals are looked at when nobody in particular asks (poll, epoll)."""

    __slots__ = ("mask", "process")

    def __init__(self, process: Process, mask: int, flags: int) -> None:
        super().__init__(O_RDWR | flags & O_NONBLOCK, anonymous_inode())
        self.mask = mask
        self.process = process
        process.signal_queues.append(self.waiters)

    def waiting(self, tasks: list[Task]) -> bool:
        for task in tasks:
            thread, process, _blocked = masks(task)
            if (thread | process) & self.mask:
                return True
        return False

    def read_into(self, task: Task, address: int, size: int) -> int:
        """The reader itself takes the signal, by a call that it makes in the place of this one."""
        if size < RECORD:
            raise Fail(E.EINVAL)
        if self.waiters not in task.process.signal_queues:
            task.process.signal_queues.append(self.waiters)
        if not self.waiting([task]):
            raise self.would_block()
        kernel = task.process.kernel
        kernel.put(task, address, struct.pack("=Q8xqq", self.mask, 0, 0))

        def taken(result: int) -> int:
            number = s32(result)
            if number <= 0:
                return number or -E.EAGAIN
            kernel.put(task, address, convert(kernel.by_pid, _sys.vm_read(task.tid, address, RECORD)))
            return RECORD

        kernel.call_natively(task, "rt_sigtimedwait", (address, address, address + 16, 8), taken)
        raise Answered

    def poll(self) -> int:
        tasks = list(self.process.tasks.values())
        return POLLIN | POLLRDNORM if self.waiting(tasks) else 0

    def describe(self) -> bytes:
        return b"anon_inode:[signalfd]"

    def info(self) -> bytes:
        return b"sigmask:\t%016x\n" % self.mask

    def release(self) -> None:
        if self.waiters in self.process.signal_queues:
            self.process.signal_queues.remove(self.waiters)


def convert(processes: dict[int, Process], info: bytes) -> bytes:
    """A ``siginfo_t`` as a ``struct signalfd_siginfo``."""
    number, error, code = struct.unpack_from("=iii", info)
    pid, _uid = struct.unpack_from("=iI", info, 16)
    sender = processes.get(pid)
    uid = sender.cred.uid if sender else 0
    status, value = 0, 0
    user_time = system_time = 0
    if number == SIGCHLD:
        status, user_time, system_time = struct.unpack_from("=i4xqq", info, 24)
    else:
        value = struct.unpack_from("=Q", info, 24)[0]
    tid = overrun = 0
    if code == SI_TIMER:
        tid, overrun, pid, uid = pid, _uid, 0, 0
    head = struct.pack("=IiiIIiIIIIi", number, error, code, pid, uid, 0, tid, 0, overrun, 0, status)
    tail = struct.pack("=iQQQ", s32(value), value, user_time & (1 << 64) - 1, system_time & (1 << 64) - 1)
    return (head + tail).ljust(RECORD, b"\0")


def _open(task: Task, fd: int, mask_at: int, size: int, flags: int) -> int:
    if size != 8 or flags & ~(O_NONBLOCK | CLOEXEC):
        raise Fail(E.EINVAL)
    mask = int.from_bytes(_sys.vm_read(task.tid, mask_at, 8), "little") & ~SIGKILL_SIGSTOP
    if s32(fd) == -1:
        return task.install(SignalFile(task.process, mask, flags), cloexec=bool(flags & CLOEXEC))
    file = task.file(fd)
    if not isinstance(file, SignalFile):
        raise Fail(E.EINVAL)
    file.mask = mask
    file.waiters.wake()
    return fd & 0xFFFFFFFF


def sys_signalfd(task: Task, fd: int, mask_at: int, size: int, *_: int) -> int:
    return _open(task, fd, mask_at, size, 0)


def sys_signalfd4(task: Task, fd: int, mask_at: int, size: int, flags: int, *_: int) -> int:
    return _open(task, fd, mask_at, size, flags)
