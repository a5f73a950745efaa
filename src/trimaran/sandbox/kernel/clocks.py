"""Event files and timers (eventfd(2), timerfd_create(2), setitimer(2), pidfd_open(2))."""

from __future__ import annotations

import errno as E
import struct
import time

from trimaran.linux import _sys
from trimaran.sandbox.kernel.anonymous import anonymous_inode
from trimaran.sandbox.kernel.file import O_NONBLOCK, O_RDWR, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM, File
from trimaran.sandbox.kernel.outcome import Answered, Continue, Fail
from trimaran.sandbox.kernel.signals import may_signal, s32
from trimaran.sandbox.kernel.task import Process, Task

EFD_SEMAPHORE, CLOEXEC = 1, 0x80000
MAX_COUNT = (1 << 64) - 2
CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM = 0, 1, 7, 8, 9
TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET = 1, 2
ITIMER_REAL = 0
P_PIDFD = 3
LATE = 100_000
"""How long after a timer's end to look for its signal, in nanoseconds."""


class EventFile(File):
    __slots__ = ("count", "semaphore")

    def __init__(self, count: int, flags: int) -> None:
        super().__init__(O_RDWR | flags & O_NONBLOCK, anonymous_inode())
        self.count = count
        self.semaphore = bool(flags & EFD_SEMAPHORE)

    def read(self, task: Task, size: int) -> bytes:
        if size < 8:
            raise Fail(E.EINVAL)
        if not self.count:
            raise self.would_block()
        value = 1 if self.semaphore else self.count
        self.count -= value
        self.waiters.wake()
        return struct.pack("=Q", value)

    def write(self, task: Task, data: bytes) -> int:
        if len(data) < 8:
            raise Fail(E.EINVAL)
        value = struct.unpack_from("=Q", data)[0]
        if value > MAX_COUNT:
            raise Fail(E.EINVAL)
        if self.count + value > MAX_COUNT:
            raise self.would_block()
        self.count += value
        self.waiters.wake()
        return len(data)

    def poll(self) -> int:
        mask = POLLIN | POLLRDNORM if self.count else 0
        return mask | (POLLOUT | POLLWRNORM if self.count < MAX_COUNT else 0)

    def describe(self) -> bytes:
        return b"anon_inode:[eventfd]"

    def info(self) -> bytes:
        return b"eventfd-count: %16x\n" % self.count


def sys_eventfd(task: Task, count: int, *_: int) -> int:
    return sys_eventfd2(task, count, 0)


def sys_eventfd2(task: Task, count: int, flags: int, *_: int) -> int:
    if flags & ~(EFD_SEMAPHORE | O_NONBLOCK | CLOEXEC):
        raise Fail(E.EINVAL)
    return task.install(EventFile(count & 0xFFFFFFFF, flags), cloexec=bool(flags & CLOEXEC))


def clock_now(clock: int) -> int:
    """A clock of the sandbox, in nanoseconds."""
    return time.time_ns() if clock in (CLOCK_REALTIME, CLOCK_REALTIME_ALARM) else time.clock_gettime_ns(clock)


class TimerFile(File):
    """``when`` is on the monotonic clock; 0 if disarmed."""

    __slots__ = ("clock", "expired", "generation", "interval", "kernel", "when")

    def __init__(self, task: Task, clock: int, flags: int) -> None:
        super().__init__(O_RDWR | flags & O_NONBLOCK, anonymous_inode())
        self.kernel = task.process.kernel
        self.clock = clock
        self.when = self.interval = self.expired = self.generation = 0

    def left(self) -> tuple[int, int]:
        """Interval, and the time to the next expiry."""
        self._catch_up()
        return self.interval, max(1, self.when - time.monotonic_ns()) if self.when else 0

    def arm(self, value: int, interval: int, absolute: bool) -> None:
        self.generation += 1
        self.expired = 0
        self.interval = interval
        if not value:
            self.when = 0
            return
        if absolute:
            value -= clock_now(self.clock)
        self.when = time.monotonic_ns() + max(0, value)
        self._schedule()

    def _schedule(self) -> None:
        generation = self.generation
        self.kernel.at(self.when, lambda: self._fire(generation))

    def _fire(self, generation: int) -> None:
        if generation == self.generation and self.refs > 0:
            self._catch_up()
            self.waiters.wake()
            if self.when:
                self._schedule()

    def _catch_up(self) -> None:
        now = time.monotonic_ns()
        if not self.when or now < self.when:
            return
        if self.interval:
            times = (now - self.when) // self.interval + 1
            self.expired += times
            self.when += times * self.interval
        else:
            self.expired += 1
            self.when = 0

    def read(self, task: Task, size: int) -> bytes:
        if size < 8:
            raise Fail(E.EINVAL)
        self._catch_up()
        if not self.expired:
            raise self.would_block()
        count, self.expired = self.expired, 0
        return struct.pack("=Q", count)

    def poll(self) -> int:
        self._catch_up()
        return POLLIN | POLLRDNORM if self.expired else 0

    def describe(self) -> bytes:
        return b"anon_inode:[timerfd]"


def sys_timerfd_create(task: Task, clock: int, flags: int, *_: int) -> int:
    known = (CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM)
    if s32(clock) not in known or flags & ~(O_NONBLOCK | CLOEXEC):
        raise Fail(E.EINVAL)
    if clock in (CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM):
        raise Fail(E.EPERM)
    return task.install(TimerFile(task, clock, flags), cloexec=bool(flags & CLOEXEC))


def _timer(task: Task, fd: int) -> TimerFile:
    file = task.file(fd)
    if not isinstance(file, TimerFile):
        raise Fail(E.EINVAL)
    return file


def _put_spec(task: Task, address: int, interval: int, value: int) -> None:
    record = struct.pack("=qqqq", *divmod(interval, 10**9), *divmod(value, 10**9))
    task.process.kernel.put(task, address, record)


def sys_timerfd_settime(task: Task, fd: int, flags: int, new: int, old: int, *_: int) -> int:
    interval_s, interval_n, value_s, value_n = struct.unpack("=qqqq", _sys.vm_read(task.tid, new, 32))
    timer = _timer(task, fd)
    if flags & ~(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET) or interval_s < 0 or value_s < 0:
        raise Fail(E.EINVAL)
    if not (0 <= interval_n < 10**9 and 0 <= value_n < 10**9):
        raise Fail(E.EINVAL)
    before = timer.left()
    timer.arm(value_s * 10**9 + value_n, interval_s * 10**9 + interval_n, bool(flags & TFD_TIMER_ABSTIME))
    if old:
        _put_spec(task, old, *before)
    return 0


def sys_timerfd_gettime(task: Task, fd: int, address: int, *_: int) -> int:
    _put_spec(task, address, *_timer(task, fd).left())
    return 0


def _expect_alarm(process: Process, first: int, interval: int) -> None:
    """The host sends SIGALRM by itself: look for it when it is due, in case a parked call must end."""
    process.deadline = time.monotonic_ns() + first if first else None
    if first:
        _look_at(process, process.deadline or 0, interval)


def _look_at(process: Process, when: int, interval: int) -> None:
    def look() -> None:
        if process.exited or process.deadline != when:
            return
        process.kernel.signals.suspect(process)
        if interval:
            process.deadline = max(when + interval, time.monotonic_ns() + 500_000)
            _look_at(process, process.deadline, interval)

    process.kernel.at(when + LATE, look)


def sys_alarm(task: Task, seconds: int, *_: int) -> int:
    """Executed by the host, whose timer it is; we note when its signal is due."""
    _expect_alarm(task.process, (seconds & 0xFFFFFFFF) * 10**9, 0)
    raise Continue


def sys_setitimer(task: Task, which: int, new: int, old: int, *_: int) -> int:
    """Like alarm: what NEW points to only says when we look."""
    if which == ITIMER_REAL and new:
        interval_s, interval_u, value_s, value_u = struct.unpack("=qqqq", _sys.vm_read(task.tid, new, 32))
        if value_s >= 0 and interval_s >= 0:
            _expect_alarm(
                task.process, value_s * 10**9 + value_u * 1000, interval_s * 10**9 + interval_u * 1000
            )
    raise Continue


def _poll_signals(process: Process) -> None:
    """A process with timers of its own gets signals that nobody tells us of: look now and then."""

    def look() -> None:
        if not process.exited and process.polled:
            process.kernel.signals.check(process)
            process.kernel.after(5_000_000, look)

    if not process.polled:
        process.polled = True
        look()


def sys_timer_create(task: Task, clock: int, event: int, *_: int) -> int:
    """Own memory and own signals only; the host keeps these timers."""
    _poll_signals(task.process)
    raise Continue


def _native(task: Task, *_: int) -> int:
    raise Continue


sys_timer_settime = sys_timer_gettime = sys_timer_getoverrun = sys_timer_delete = _native


class PidFile(File):
    """A process by descriptor."""

    __slots__ = ("process",)

    def __init__(self, process: Process, flags: int) -> None:
        super().__init__(O_RDWR | flags & O_NONBLOCK, anonymous_inode())
        self.process = process
        if not process.exited:
            process.observers.append(self.waiters.wake)

    def poll(self) -> int:
        return POLLIN | POLLRDNORM if self.process.exited else 0

    def describe(self) -> bytes:
        return b"anon_inode:[pidfd]"

    def info(self) -> bytes:
        return b"Pid:\t%d\nNSpid:\t%d\n" % ((-1, -1) if self.process.exited else (self.process.pid,) * 2)

    def release(self) -> None:
        if self.waiters.wake in self.process.observers:
            self.process.observers.remove(self.waiters.wake)


def sys_pidfd_open(task: Task, pid: int, flags: int, *_: int) -> int:
    if s32(pid) <= 0 or flags & ~O_NONBLOCK:
        raise Fail(E.EINVAL)
    task.process.kernel.settle_all()
    process = task.process.kernel.by_pid.get(pid)
    if process is None:
        raise Fail(E.ESRCH)
    return task.install(PidFile(process, flags), cloexec=True)


def sys_pidfd_send_signal(task: Task, fd: int, number: int, info: int, flags: int, *_: int) -> int:
    process = _process_of(task, fd)
    if flags or not 0 <= s32(number) <= 64:
        raise Fail(E.EINVAL)
    if process.exited:
        raise Fail(E.ESRCH)
    if not may_signal(task.process, process, number):
        raise Fail(E.EPERM)
    if number:
        _sys.send_signal(process.pidfd, number)
        process.kernel.signals.suspect(process)
    return 0


def _process_of(task: Task, fd: int) -> Process:
    """The process behind a pidfd, or a descriptor of /proc/PID."""
    file = task.file(fd)
    if isinstance(file, PidFile):
        return file.process
    process = getattr(file.inode, "process", None)
    if not isinstance(process, Process):
        raise Fail(E.EBADF)
    return process


def sys_waitid(task: Task, kind: int, identity: int, info: int, options: int, usage: int, *_: int) -> int:
    """Only P_PIDFD comes here: the host knows the child by its number, not by our descriptor."""
    if kind & 0xFFFFFFFF != P_PIDFD:
        raise Fail(E.EINVAL)
    file = task.file(identity)
    if not isinstance(file, PidFile):
        raise Fail(E.EBADF)
    task.process.kernel.call_natively(task, "waitid", (1, file.process.pid, info, options, usage))
    raise Answered
