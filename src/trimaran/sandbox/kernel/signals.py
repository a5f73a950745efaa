"""Signals: the host delivers them; we say who may send, and end the calls that they interrupt (signal(7))."""

from __future__ import annotations

import errno as E
import os
import time

from trimaran.linux import _sys
from trimaran.sandbox.kernel.family import status
from trimaran.sandbox.kernel.outcome import Continue, Fail
from trimaran.sandbox.kernel.task import CAP_KILL, Process, Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.sandbox.kernel.kernel import Kernel

SIGCONT, SIGKILL, SIGSTOP = 18, 9, 19
LOOKS = (0, 1_000_000, 10_000_000, 50_000_000)
"""When to look for a signal that a task sends by itself, in nanoseconds after its call went on."""
EXPECT = 200_000_000
"""How long after a signal a process is looked at whenever it begins to wait."""


def s32(value: int) -> int:
    """An argument as the C int that it is."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value & 0x80000000 else value


class Signals:
    """Sends signals to processes, and ends parked calls for which one is pending."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    def send(self, process: Process, number: int) -> None:
        """Signal a process, as the kernel does."""
        process.expecting = time.monotonic_ns() + EXPECT
        try:
            _sys.send_signal(process.pidfd, number)
        except ProcessLookupError:
            return
        self.check(process)

    def send_thread(self, task: Task, number: int) -> None:
        """Signal the caller's own thread, before its call returns."""
        task.process.expecting = time.monotonic_ns() + EXPECT
        _sys.tgkill(task.process.host, task.tid, number)

    def mask_for_call(self, task: Task, address: int, size: int) -> None:
        """The signal mask that a call brings for its own duration (ppoll(2), "the sigmask argument")."""
        if address:
            if size != 8:
                raise Fail(E.EINVAL)
            task.mask_at = address
            task.mask = int.from_bytes(_sys.vm_read(task.tid, address, 8), "little")

    def check(self, process: Process) -> None:
        """Signals may have come for PROCESS: end what they interrupt, wake who reads them."""
        for queue in process.signal_queues:
            queue.wake()
        for task in list(process.tasks.values()):
            if task.parked is not None:
                self.check_task(task)

    def check_task(self, task: Task) -> None:
        if task.parked is None:
            return
        thread, process, blocked = masks(task)
        waiting = thread | process
        if waiting & ~blocked:
            self.kernel.interrupt(task)
        elif task.mask is not None and waiting & ~task.mask:
            self.kernel.suspend(task)

    def suspect(self, process: Process) -> None:
        """A signal may be on its way to PROCESS: look now, and a few times more."""
        process.expecting = time.monotonic_ns() + EXPECT
        for delay in LOOKS:
            self.kernel.after(delay, lambda: self.check(process))


def masks(task: Task) -> tuple[int, int, int]:
    """Pending for the thread, pending for the process, blocked."""
    facts = status(task.tid)
    if facts is None:
        return 0, 0, 0
    return int(facts[b"SigPnd"], 16), int(facts[b"ShdPnd"], 16), int(facts[b"SigBlk"], 16)


def may_signal(sender: Process, target: Process, number: int) -> bool:
    one, two = sender.cred, target.cred
    return (
        one.capable(CAP_KILL)
        or one.euid in (two.suid, two.uid)
        or one.uid in (two.suid, two.uid)
        or (number == SIGCONT and os.getsid(sender.host) == os.getsid(target.host))
    )


def _targets(task: Task, pid: int) -> list[Process]:
    """The processes that kill(2) means by PID."""
    kernel, process = task.process.kernel, task.process
    everyone = list(kernel.processes.values())
    if pid > 0:
        target = kernel.by_pid.get(pid)
        return [target] if target else []
    if pid == -1:
        return [p for p in everyone if p is not process and p.pid != 1]
    group = _host_group(kernel, -pid) if pid else os.getpgid(process.host)
    return [p for p in everyone if _group_of(p) == group]


def _host_group(kernel: Kernel, pid: int) -> int:
    leader = kernel.by_pid.get(pid)
    if leader is not None:
        return leader.host
    for process in kernel.processes.values():
        facts = status(process.host)
        if facts and int(facts[b"NSpgid"].split()[-1]) == pid:
            return _group_of(process)
    return 0


def _group_of(process: Process) -> int:
    try:
        return os.getpgid(process.host)
    except ProcessLookupError:
        return -1


def _deliver(task: Task, pid: int, number: int) -> int:
    """Check, then let the host send: the receiver must see who it was."""
    kernel = task.process.kernel
    kernel.settle_all()
    targets = _targets(task, pid)
    if not 0 <= number <= 64:
        raise Fail(E.EINVAL)
    if not targets:
        # A zombie takes signals and does nothing; the host knows whether there is one.
        raise Continue
    refused = [target for target in targets if not may_signal(task.process, target, number)]
    if len(refused) == len(targets):
        raise Fail(E.EPERM)
    if refused:
        for target in targets:
            if target not in refused and number:
                kernel.signals.send(target, number)
        return 0
    if number:
        for target in targets:
            kernel.signals.suspect(target)
    raise Continue


def sys_kill(task: Task, pid: int, number: int, *_: int) -> int:
    return _deliver(task, s32(pid), s32(number))


def sys_tgkill(task: Task, tgid: int, tid: int, number: int, *_: int) -> int:
    return _deliver(task, s32(tgid), s32(number))


def sys_tkill(task: Task, tid: int, number: int, *_: int) -> int:
    kernel = task.process.kernel
    for other in kernel.tasks.values():
        if other.guest_tid == s32(tid):
            return _deliver(task, other.process.pid, s32(number))
    raise Continue


def sys_rt_sigqueueinfo(task: Task, pid: int, number: int, *_: int) -> int:
    return _deliver(task, s32(pid), s32(number))


def sys_rt_tgsigqueueinfo(task: Task, tgid: int, tid: int, number: int, *_: int) -> int:
    return _deliver(task, s32(tgid), s32(number))
