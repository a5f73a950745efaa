"""Who is whose child: binding the host's processes to ours (clone(2), proc(5))."""

from __future__ import annotations

import errno as E
import os

from trimaran.sandbox.kernel.outcome import Continue, Fail
from trimaran.sandbox.kernel.task import Process, Task

SIGKILL = 9

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.sandbox.kernel.kernel import Kernel

CLONE_VM, CLONE_FS, CLONE_FILES, CLONE_SIGHAND, CLONE_PIDFD, CLONE_PTRACE = (
    0x100,
    0x200,
    0x400,
    0x800,
    0x1000,
    0x2000,
)
CLONE_VFORK, CLONE_PARENT, CLONE_THREAD, CLONE_UNTRACED, CLONE_IO = (
    0x4000,
    0x8000,
    0x10000,
    0x800000,
    0x80000000,
)
CLONE_SYSVSEM, CLONE_SETTLS, CLONE_PARENT_SETTID, CLONE_CHILD_CLEARTID = 0x40000, 0x80000, 0x100000, 0x200000
CLONE_DETACHED, CLONE_CHILD_SETTID = 0x400000, 0x1000000
NAMESPACES = 0x7E020080 & ~CLONE_VM
ALLOWED = (
    0xFF | CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_VFORK | CLONE_THREAD | CLONE_UNTRACED
)
ALLOWED |= CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID | CLONE_DETACHED
ALLOWED |= CLONE_CHILD_SETTID | CLONE_IO


def status(tid: int) -> dict[bytes, bytes] | None:
    """/proc/TID/status as a dictionary; None if there is no such task."""
    try:
        fd = os.open(b"/proc/%d/status" % tid, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        text = os.read(fd, 4096)
    except ProcessLookupError:
        return None
    finally:
        os.close(fd)
    return dict(line.split(b":\t", 1) for line in text.split(b"\n") if b":\t" in line)


def children(task: Task) -> list[int]:
    """The host's numbers of the children that this very thread has made and not lost."""
    try:
        fd = os.open(b"/proc/%d/task/%d/children" % (task.process.host, task.tid), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    try:
        text = b""
        while more := os.read(fd, 65536):
            text += more
        return [int(word) for word in text.split()]
    except ProcessLookupError:
        return []
    finally:
        os.close(fd)


def sys_clone(task: Task, flags: int, *_: int) -> int:
    """Executed by the host: what it does is all in registers. Namespaces are not to be had."""
    _check(task, flags)
    task.pending.append(flags)
    raise Continue


def sys_fork(task: Task, *_: int) -> int:
    _check(task, 0)
    task.pending.append(0)
    raise Continue


def sys_vfork(task: Task, *_: int) -> int:
    _check(task, 0)
    task.pending.append(CLONE_VM | CLONE_VFORK)
    raise Continue


def sys_clone3(task: Task, *_: int) -> int:
    """Its arguments lie in memory, which another thread may change: libraries then use clone."""
    raise Fail(E.ENOSYS)


def _check(task: Task, flags: int) -> None:
    if flags & NAMESPACES:
        raise Fail(E.EPERM)
    if flags & ~ALLOWED:
        raise Fail(E.EINVAL)
    kernel = task.process.kernel
    limit = min(task.process.limits[6][0], kernel.settings.max_tasks or 1 << 62)
    if limit < 1 << 22 and sum(len(p.tasks) for p in kernel.processes.values()) >= limit:
        raise Fail(E.EAGAIN)


def sys_exit(task: Task, *_: int) -> int:
    """One thread ends."""
    if len(task.process.tasks) > 1:
        task.process.kernel.forget_task(task)
    else:
        task.process.kernel.close_process(task.process)
    raise Continue


def sys_exit_group(task: Task, code: int, *_: int) -> int:
    """The process ends: what it has open is closed before its parent can see it gone."""
    task.process.kernel.close_process(task.process)
    raise Continue


def settle(kernel: Kernel, task: Task, *, returned: bool = True) -> None:
    """Bind the children that TASK got.

    If it has RETURNED from clone, entries without a child are those that failed, or died at once; else the
    child may yet come.
    """
    found = _new_children(kernel, task)
    flags = task.pending
    processes = [flag for flag in flags if not flag & CLONE_THREAD]
    task.pending = [] if returned else processes[len(found) :]
    for tid, flag in zip(found, processes, strict=False):
        facts = status(tid)
        if facts is not None:
            _bind_process(kernel, task, tid, facts, flag, task.listener)


def _new_children(kernel: Kernel, task: Task) -> list[int]:
    """Children of TASK that are not bound yet, in the order of their making.

    Zombies are none of them: the list has those that were bound, and orphans of others that came here.
    """
    bound = kernel.processes
    return [tid for tid in children(task) if tid not in bound and not _is_zombie(tid)]


def _is_zombie(tid: int) -> bool:
    facts = status(tid)
    return facts is None or facts[b"State"].startswith(b"Z")


def adopt(kernel: Kernel, tid: int, listener: int) -> Task | None:
    """A task makes its first call: find out whose it is. None if it comes from nowhere."""
    facts = status(tid)
    if facts is None:
        return None
    group = int(facts[b"Tgid"])
    if group != tid:
        process = kernel.processes.get(group)
        if process is None:
            leader = adopt(kernel, group, listener)
            process = leader.process if leader else None
        if process is None:
            return None
        task = Task(process, tid, int(facts[b"NSpid"].split()[-1]), listener)
        kernel.tasks[tid] = task
        return task
    parent, flags = _maker(kernel, tid, int(facts[b"PPid"]))
    if parent is None:
        kernel.log(f"process {tid} was made by nobody that is known: killed")
        os.kill(tid, SIGKILL)
        return None
    return _bind_process(kernel, parent, tid, facts, flags, listener)


def _maker(kernel: Kernel, tid: int, ppid: int) -> tuple[Task | None, int]:
    """The thread whose clone made process TID, and the flags; its pending entry is used up."""
    process = kernel.processes.get(ppid)
    for task in list(process.tasks.values()) if process else []:
        made = [flag for flag in task.pending if not flag & CLONE_THREAD]
        if made:
            mine = _new_children(kernel, task)
            if tid in mine:
                flag = made[min(mine.index(tid), len(made) - 1)]
                task.pending.remove(flag)
                return task, flag
    for task in kernel.orphans:
        if task.pending:
            flag = task.pending.pop(0)
            if not task.pending:
                kernel.orphans.remove(task)
            return task, flag
    return None, 0


def _bind_process(
    kernel: Kernel, maker: Task, tid: int, facts: dict[bytes, bytes], flags: int, listener: int
) -> Task | None:
    parent = maker.process
    try:
        process = Process(kernel, tid, int(facts[b"NSpid"].split()[-1]), parent)
    except ProcessLookupError:
        return None
    if flags & CLONE_FILES:
        process.files = parent.files
        parent.files.sharers += 1
    else:
        process.files = parent.files.copy()
    process.fs = parent.fs if flags & CLONE_FS else parent.fs.copy()
    process.executable = parent.executable
    process.arguments, process.environment = parent.arguments, parent.environment
    process.images = parent.images
    kernel.add_process(process)
    task = Task(process, tid, process.pid, listener)
    kernel.tasks[tid] = task
    return task


def leave(kernel: Kernel, process: Process) -> None:
    """PROCESS is gone: its children go to the first process."""
    heir = kernel.by_pid.get(1)
    for child in kernel.processes.values():
        if child.parent is process:
            child.parent = heir
