"""Waiting for several files at once (poll(2), select(2))."""

from __future__ import annotations

import errno as E
import struct
import time

from trimaran.linux import _sys
from trimaran.sandbox.abi.structs import POLLFD
from trimaran.sandbox.kernel.file import (
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLNVAL,
    POLLOUT,
    POLLPRI,
    POLLRDNORM,
    POLLWRNORM,
    File,
)
from trimaran.sandbox.kernel.outcome import ERESTARTNOHAND, Block, Fail
from trimaran.sandbox.kernel.task import Task
from trimaran.sandbox.kernel.waiting import WaitQueue

FD_SETSIZE = 65536
READ_MASK = POLLIN | POLLRDNORM | POLLHUP | POLLERR
WRITE_MASK = POLLOUT | POLLWRNORM | POLLERR


def queues_of(file: File) -> tuple[WaitQueue, ...]:
    """The queues that are woken when what FILE polls as may have changed."""
    queues = getattr(file, "queues", None)
    return queues() if queues is not None else (file.waiters,)


class _Wait:
    """What poll keeps between tries: its arguments, read once, and when it ends."""

    __slots__ = ("deadline", "wanted")

    def __init__(self, wanted: list[tuple[int, int]], deadline: int | None) -> None:
        self.wanted = wanted
        self.deadline = deadline


def timeout_at(task: Task, address: int, unit: int = 1) -> int | None:
    """The deadline of a relative timespec (UNIT 1) or timeval (UNIT 1000) in memory; None without one."""
    if not address:
        return None
    seconds, part = struct.unpack("=qq", _sys.vm_read(task.tid, address, 16))
    if seconds < 0 or not 0 <= part < 10**9:
        raise Fail(E.EINVAL)
    return time.monotonic_ns() + min(int(seconds), 1 << 32) * 10**9 + int(part) * unit


def sys_poll(task: Task, address: int, count: int, timeout: int, *_: int) -> int:
    if task.state is None:
        milliseconds = timeout & 0xFFFFFFFF
        deadline = None
        if not milliseconds & 0x80000000:
            deadline = time.monotonic_ns() + milliseconds * 1_000_000
        task.state = _Wait(_read_pollfds(task, address, count), deadline)
    return _poll(task, address)


def sys_ppoll(task: Task, address: int, count: int, timeout: int, mask: int, size: int, *_: int) -> int:
    if task.state is None:
        deadline = timeout_at(task, timeout)
        task.state = _Wait(_read_pollfds(task, address, count), deadline)
        task.process.kernel.signals.mask_for_call(task, mask, size)
    return _poll(task, address)


def _read_pollfds(task: Task, address: int, count: int) -> list[tuple[int, int]]:
    count &= 0xFFFFFFFF
    if count > task.process.limits[7][0]:
        raise Fail(E.EINVAL)
    data = _sys.vm_read(task.tid, address, 8 * count) if count else b""
    return [(fd, events & 0xFFFF) for fd, events, _ in POLLFD.iter_unpack(data)]


def _poll(task: Task, address: int) -> int:
    wait = task.state
    assert isinstance(wait, _Wait)
    files = task.process.files.files
    queues: list[WaitQueue] = []
    out, ready = bytearray(), 0
    for fd, events in wait.wanted:
        result = 0
        if fd >= 0:
            file = files.get(fd)
            if file is None:
                result = POLLNVAL
            else:
                result = file.poll() & (events | POLLERR | POLLHUP)
                if not result:
                    queues += queues_of(file)
        ready += bool(result)
        out += POLLFD.pack(fd, events if events < 0x8000 else events - 0x10000, result)
    if ready or (wait.deadline is not None and time.monotonic_ns() >= wait.deadline):
        if out:
            task.process.kernel.put(task, address, bytes(out))
        return ready
    raise Block(queues, wait.deadline, ERESTARTNOHAND)


class _Select:
    """What select keeps between tries."""

    __slots__ = ("deadline", "sets")

    def __init__(self, sets: list[set[int]], deadline: int | None) -> None:
        self.sets = sets
        self.deadline = deadline


def sys_select(task: Task, count: int, reads: int, writes: int, others: int, timeout: int, *_: int) -> int:
    if task.state is None:
        task.state = _Select(_read_sets(task, count, reads, writes, others), timeout_at(task, timeout, 1000))
    return _select(task, count, (reads, writes, others), timeout, 1000)


def sys_pselect6(
    task: Task, count: int, reads: int, writes: int, others: int, timeout: int, mask: int
) -> int:
    if task.state is None:
        task.state = _Select(_read_sets(task, count, reads, writes, others), timeout_at(task, timeout))
        if mask:
            address, size = struct.unpack("=QQ", _sys.vm_read(task.tid, mask, 16))
            task.process.kernel.signals.mask_for_call(task, address, size)
    return _select(task, count, (reads, writes, others), timeout, 1)


def _read_sets(task: Task, count: int, *addresses: int) -> list[set[int]]:
    count &= 0xFFFFFFFF
    if count > FD_SETSIZE:
        raise Fail(E.EINVAL)
    sets = []
    files = task.process.files.files
    for address in addresses:
        bits = (
            int.from_bytes(_sys.vm_read(task.tid, address, -(-count // 64) * 8), "little") if address else 0
        )
        bits &= (1 << count) - 1
        chosen = {fd for fd in range(count) if bits >> fd & 1} if bits else set()
        if any(fd not in files for fd in chosen):
            raise Fail(E.EBADF)
        sets.append(chosen)
    return sets


def _select(task: Task, count: int, addresses: tuple[int, int, int], timeout: int, unit: int) -> int:
    wait = task.state
    assert isinstance(wait, _Select)
    queues: list[WaitQueue] = []
    files, total = task.process.files.files, 0
    results: list[set[int]] = []
    for wanted, mask in zip(wait.sets, (READ_MASK, WRITE_MASK, POLLPRI), strict=True):
        ready = set()
        for fd in wanted:
            file = files.get(fd)
            if file is None or file.poll() & mask:
                ready.add(fd)
            else:
                queues += queues_of(file)
        results.append(ready)
        total += len(ready)
    expired = wait.deadline is not None and time.monotonic_ns() >= wait.deadline
    if not total and not expired:
        raise Block(queues, wait.deadline, ERESTARTNOHAND)
    size = -(-(count & 0xFFFFFFFF) // 64) * 8
    for address, ready in zip(addresses, results, strict=True):
        if address:
            bits = sum(1 << fd for fd in ready)
            task.process.kernel.put(task, address, bits.to_bytes(size, "little"))
    if timeout and wait.deadline is not None:
        left = max(0, wait.deadline - time.monotonic_ns())
        seconds, rest = divmod(left, 10**9)
        task.process.kernel.put(task, timeout, struct.pack("=qq", seconds, rest // unit))
    return total
