"""epoll(7): level, edge and one-shot, nested."""

from __future__ import annotations

import errno as E
import time

from trimaran.linux import _sys
from trimaran.sandbox.abi.structs import EPOLL_EVENT
from trimaran.sandbox.kernel.anonymous import anonymous_inode
from trimaran.sandbox.kernel.file import POLLERR, POLLHUP, POLLIN, POLLRDNORM, File
from trimaran.sandbox.kernel.outcome import ERESTARTNOHAND, Block, Fail
from trimaran.sandbox.kernel.polling import queues_of, timeout_at
from trimaran.sandbox.kernel.signals import s32
from trimaran.sandbox.kernel.task import Task

EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD = 1, 2, 3
EPOLLEXCLUSIVE, EPOLLWAKEUP, EPOLLONESHOT, EPOLLET = 1 << 28, 1 << 29, 1 << 30, 1 << 31
CONTROL = EPOLLEXCLUSIVE | EPOLLWAKEUP | EPOLLONESHOT | EPOLLET
MAX_NESTING = 4
MAX_EVENTS = 1 << 16


class Item:
    """One registered file. ``edge`` tells that something happened since it was last reported."""

    __slots__ = ("data", "edge", "events", "fd", "file", "owner", "queues")

    def __init__(self, owner: EpollFile, fd: int, file: File, events: int, data: int) -> None:
        self.owner = owner
        self.fd = fd
        self.file = file
        self.events = events
        self.data = data
        self.edge = True
        self.queues = queues_of(file)
        for queue in self.queues:
            queue.observers.append(self.woken)

    def woken(self) -> None:
        self.edge = True
        self.owner.candidates[self] = None
        self.owner.waiters.wake()

    def ready(self) -> int:
        """The events to report now."""
        if not self.events & ~CONTROL or (self.events & EPOLLET and not self.edge):
            return 0
        return self.file.poll() & (self.events & ~CONTROL | POLLERR | POLLHUP)

    def drop(self) -> None:
        for queue in self.queues:
            if self.woken in queue.observers:
                queue.observers.remove(self.woken)


class EpollFile(File):
    """``candidates`` are the items that may be ready: all that were woken and not since found idle."""

    __slots__ = ("candidates", "items")

    def __init__(self) -> None:
        super().__init__(2, anonymous_inode())
        self.items: dict[tuple[int, int], Item] = {}
        self.candidates: dict[Item, None] = {}

    def _prune(self) -> None:
        """Files that were closed leave the set by themselves."""
        for key, item in list(self.items.items()):
            if item.file.refs <= 0:
                self._remove(key)

    def _remove(self, key: tuple[int, int]) -> None:
        item = self.items.pop(key)
        self.candidates.pop(item, None)
        item.drop()

    def collect(self, limit: int) -> list[tuple[int, int]]:
        """Up to LIMIT events as (mask, data); level-triggered items stay candidates, at the end."""
        found: list[tuple[int, int]] = []
        for item in list(self.candidates):
            if len(found) >= limit:
                break
            if item.file.refs <= 0:
                self._remove((item.fd, id(item.file)))
                continue
            mask = item.ready()
            del self.candidates[item]
            if not mask:
                continue
            found.append((mask, item.data))
            if item.events & EPOLLONESHOT:
                item.events &= CONTROL
            elif item.events & EPOLLET:
                item.edge = False
            else:
                self.candidates[item] = None
        return found

    def poll(self) -> int:
        for item in list(self.candidates):
            if item.file.refs > 0 and item.ready():
                return POLLIN | POLLRDNORM
        return 0

    def describe(self) -> bytes:
        return b"anon_inode:[eventpoll]"

    def info(self) -> bytes:
        self._prune()
        return b"".join(
            b"tfd: %8d events: %8x data: %16x\n" % (item.fd, item.events, item.data)
            for item in self.items.values()
        )

    def release(self) -> None:
        for item in self.items.values():
            item.drop()
        self.items.clear()
        self.candidates.clear()

    def add(self, fd: int, file: File, events: int, data: int) -> None:
        item = self.items[fd, id(file)] = Item(self, fd, file, events, data)
        item.woken()

    def depth(self, seen: int = 0) -> int:
        """How deep epoll files are nested below this one."""
        if seen > MAX_NESTING:
            return seen
        return 1 + max(
            (i.file.depth(seen + 1) for i in self.items.values() if isinstance(i.file, EpollFile)), default=0
        )

    def reaches(self, other: EpollFile) -> bool:
        if self is other:
            return True
        return any(isinstance(i.file, EpollFile) and i.file.reaches(other) for i in self.items.values())


def sys_epoll_create(task: Task, size: int, *_: int) -> int:
    if s32(size) <= 0:
        raise Fail(E.EINVAL)
    return task.install(EpollFile(), cloexec=False)


def sys_epoll_create1(task: Task, flags: int, *_: int) -> int:
    if flags & ~0x80000:
        raise Fail(E.EINVAL)
    return task.install(EpollFile(), cloexec=bool(flags))


def _instance(task: Task, fd: int) -> EpollFile:
    file = task.file(fd)
    if not isinstance(file, EpollFile):
        raise Fail(E.EINVAL)
    return file


def sys_epoll_ctl(task: Task, fd: int, operation: int, target: int, address: int, *_: int) -> int:
    file, epoll = task.file(target), task.file(fd)
    if operation != EPOLL_CTL_DEL:
        events, data = EPOLL_EVENT.unpack(_sys.vm_read(task.tid, address, EPOLL_EVENT.size))
    if not isinstance(epoll, EpollFile) or file is epoll:
        raise Fail(E.EINVAL)
    if file.inode.is_regular or file.inode.is_dir:
        raise Fail(E.EPERM)
    target &= 0xFFFFFFFF
    key = (target, id(file))
    item = epoll.items.get(key)
    if item is not None and (item.file is not file or item.file.refs <= 0):
        epoll._remove(key)
        item = None
    if operation == EPOLL_CTL_ADD:
        if item is not None:
            raise Fail(E.EEXIST)
        if isinstance(file, EpollFile) and (file.reaches(epoll) or file.depth() > MAX_NESTING):
            raise Fail(E.ELOOP)
        epoll.add(target, file, events, data)
    elif item is None:
        raise Fail(E.ENOENT)
    elif operation == EPOLL_CTL_DEL:
        epoll._remove(key)
    elif operation == EPOLL_CTL_MOD:
        item.events, item.data = events, data
        item.woken()
    else:
        raise Fail(E.EINVAL)
    return 0


def _wait(task: Task, fd: int, address: int, limit: int) -> int:
    epoll = _instance(task, fd)
    if s32(limit) <= 0 or limit > 1 << 24:
        raise Fail(E.EINVAL)
    found = epoll.collect(min(limit, MAX_EVENTS))
    if found:
        task.process.kernel.put(task, address, b"".join(EPOLL_EVENT.pack(*event) for event in found))
        return len(found)
    deadline = task.state[0]  # type: ignore[index]
    if deadline is not None and time.monotonic_ns() >= deadline:
        return 0
    raise Block((epoll.waiters,), deadline, ERESTARTNOHAND)


def _deadline(milliseconds: int) -> int | None:
    value = s32(milliseconds)
    return None if value < 0 else time.monotonic_ns() + value * 1_000_000


def sys_epoll_wait(task: Task, fd: int, address: int, limit: int, timeout: int, *_: int) -> int:
    if task.state is None:
        task.state = (_deadline(timeout),)
    return _wait(task, fd, address, limit)


def sys_epoll_pwait(task: Task, fd: int, address: int, limit: int, timeout: int, mask: int, size: int) -> int:
    if task.state is None:
        task.state = (_deadline(timeout),)
        task.process.kernel.signals.mask_for_call(task, mask, size)
    return _wait(task, fd, address, limit)


def sys_epoll_pwait2(
    task: Task, fd: int, address: int, limit: int, timeout: int, mask: int, size: int
) -> int:
    if task.state is None:
        task.state = (timeout_at(task, timeout),)
        task.process.kernel.signals.mask_for_call(task, mask, size)
    return _wait(task, fd, address, limit)
