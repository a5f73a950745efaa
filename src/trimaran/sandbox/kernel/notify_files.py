"""Watching files (inotify(7))."""

from __future__ import annotations

import errno as E
import itertools
import struct

from trimaran.sandbox.kernel.anonymous import anonymous_inode
from trimaran.sandbox.kernel.file import O_NONBLOCK, POLLIN, POLLRDNORM, File
from trimaran.sandbox.kernel.outcome import Fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.sandbox.kernel.task import Task
    from trimaran.sandbox.kernel.vfs.inode import Dentry, Inode

IN_ALL_EVENTS, IN_IGNORED, IN_Q_OVERFLOW, IN_DELETE_SELF = 0xFFF, 0x8000, 0x4000, 0x400
IN_ONLYDIR, IN_DONT_FOLLOW, IN_MASK_CREATE, IN_MASK_ADD, IN_ONESHOT = (
    0x1000000,
    0x2000000,
    0x10000000,
    0x20000000,
    0x80000000,
)
IN_ISDIR = 0x40000000
QUEUE_LIMIT = 16384

_cookies = itertools.count(1)


def next_cookie() -> int:
    """What ties the two halves of a rename together."""
    return next(_cookies) & 0xFFFFFFFF


class Watch:
    __slots__ = ("inode", "mask", "number", "owner")

    def __init__(self, owner: InotifyFile, inode: Inode, number: int, mask: int) -> None:
        self.owner = owner
        self.inode = inode
        self.number = number
        self.mask = mask


class InotifyFile(File):
    __slots__ = ("events", "next", "watches")

    def __init__(self, flags: int) -> None:
        super().__init__(flags, anonymous_inode())
        self.events: list[bytes] = []
        self.watches: dict[int, Watch] = {}
        self.next = 1

    def read(self, task: Task, size: int) -> bytes:
        if not self.events:
            raise self.would_block()
        out, used = [], 0
        while self.events and used + len(self.events[0]) <= size:
            used += len(self.events[0])
            out.append(self.events.pop(0))
        if not out:
            raise Fail(E.EINVAL)
        return b"".join(out)

    def poll(self) -> int:
        return POLLIN | POLLRDNORM if self.events else 0

    def ioctl(self, task: Task, command: int, argument: int) -> int:
        if command != 0x541B:
            raise Fail(E.ENOTTY)
        task.process.kernel.put(task, argument, struct.pack("=i", sum(map(len, self.events))))
        return 0

    def post(self, watch: int, mask: int, cookie: int, name: bytes) -> None:
        padded = name + b"\0" * (-(len(name)) % 16 or 16) if name else b""
        event = struct.pack("=iIII", watch, mask, cookie, len(padded)) + padded
        if self.events and self.events[-1] == event:
            return
        if len(self.events) >= QUEUE_LIMIT:
            event = struct.pack("=iIII", -1, IN_Q_OVERFLOW, 0, 0)
            if self.events[-1] == event:
                return
        self.events.append(event)
        self.waiters.wake()

    def forget(self, watch: Watch) -> None:
        self.watches.pop(watch.number, None)
        if watch.inode.watches and watch in watch.inode.watches:
            watch.inode.watches.remove(watch)
        self.post(watch.number, IN_IGNORED, 0, b"")

    def describe(self) -> bytes:
        return b"anon_inode:inotify"

    def release(self) -> None:
        for watch in self.watches.values():
            if watch.inode.watches and watch in watch.inode.watches:
                watch.inode.watches.remove(watch)


def _tell_inode(inode: Inode, mask: int, cookie: int, name: bytes) -> None:
    for watch in list(inode.watches or ()):
        if watch.mask & mask & IN_ALL_EVENTS:
            watch.owner.post(watch.number, mask, cookie, name)
            if watch.mask & IN_ONESHOT:
                watch.owner.forget(watch)


def tell_directory(directory: Dentry, name: bytes, mask: int, cookie: int = 0) -> None:
    """An entry of DIRECTORY has changed."""
    if directory.inode.watches:
        _tell_inode(directory.inode, mask, cookie, name)


def tell(dentry: Dentry, mask: int, *, own: bool = False) -> None:
    """Something happened to DENTRY: its directory is told, or the file itself if OWN."""
    if dentry.inode.is_dir:
        mask |= IN_ISDIR
    if own:
        _tell_inode(dentry.inode, mask & ~IN_ISDIR, 0, b"")
        if mask & IN_DELETE_SELF:
            for watch in list(dentry.inode.watches or ()):
                watch.owner.forget(watch)
    elif dentry.parent is not None:
        tell_directory(dentry.parent, dentry.name, mask)


def sys_inotify_init(task: Task, *_: int) -> int:
    return task.install(InotifyFile(0), cloexec=False)


def sys_inotify_init1(task: Task, flags: int, *_: int) -> int:
    if flags & ~(O_NONBLOCK | 0x80000):
        raise Fail(E.EINVAL)
    return task.install(InotifyFile(flags & O_NONBLOCK), cloexec=bool(flags & 0x80000))


def _instance(task: Task, fd: int) -> InotifyFile:
    file = task.file(fd)
    if not isinstance(file, InotifyFile):
        raise Fail(E.EINVAL)
    return file


def sys_inotify_add_watch(task: Task, fd: int, path: int, mask: int, *_: int) -> int:
    from trimaran.sandbox.kernel.vfs.walk import READ, existing, require

    file = _instance(task, fd)
    mask &= 0xFFFFFFFF
    if not mask & IN_ALL_EVENTS:
        raise Fail(E.EINVAL)
    dentry = existing(task, -100, task.path(), follow=not mask & IN_DONT_FOLLOW)
    inode = dentry.inode
    if mask & IN_ONLYDIR and not inode.is_dir:
        raise Fail(E.ENOTDIR)
    require(task.process.cred, inode, READ)
    for watch in file.watches.values():
        if watch.inode is inode:
            if mask & IN_MASK_CREATE:
                raise Fail(E.EEXIST)
            watch.mask = mask | (watch.mask if mask & IN_MASK_ADD else 0)
            return watch.number
    watch = Watch(file, inode, file.next, mask)
    file.next += 1
    file.watches[watch.number] = watch
    if inode.watches is None:
        inode.watches = []
    inode.watches.append(watch)
    return watch.number


def sys_inotify_rm_watch(task: Task, fd: int, number: int, *_: int) -> int:
    file = _instance(task, fd)
    watch = file.watches.get(number & 0xFFFFFFFF)
    if watch is None:
        raise Fail(E.EINVAL)
    file.forget(watch)
    return 0
