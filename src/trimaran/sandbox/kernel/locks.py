"""Advisory locks: flock(2), POSIX records of a process and of an open file (fcntl(2))."""

from __future__ import annotations

import errno as E
import struct

from trimaran.linux import _sys
from trimaran.sandbox.kernel.file import O_ACCMODE, O_RDONLY, O_WRONLY, File
from trimaran.sandbox.kernel.outcome import Block, Fail
from trimaran.sandbox.kernel.waiting import WaitQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.sandbox.kernel.task import Process, Task
    from trimaran.sandbox.kernel.vfs.inode import Inode

LOCK_SH, LOCK_EX, LOCK_NB, LOCK_UN = 1, 2, 4, 8
F_RDLCK, F_WRLCK, F_UNLCK = 0, 1, 2
END = 1 << 63
GET, SET, WAIT = (5, 36), (6, 37), (7, 38)


class Record:
    """A POSIX lock from ``start`` up to but not including ``end``; ``owner`` is a process or a file."""

    __slots__ = ("end", "kind", "owner", "pid", "start")

    def __init__(self, owner: object, pid: int, kind: int, start: int, end: int) -> None:
        self.owner = owner
        self.pid = pid
        self.kind = kind
        self.start = start
        self.end = end


class Locks:
    """All locks of one inode."""

    __slots__ = ("flocks", "queue", "records")

    def __init__(self) -> None:
        self.flocks: dict[File, int] = {}
        self.records: list[Record] = []
        self.queue = WaitQueue()

    def conflict(self, owner: object, kind: int, start: int, end: int) -> Record | None:
        for record in self.records:
            if record.owner is owner or record.end <= start or record.start >= end:
                continue
            if F_WRLCK in (kind, record.kind):
                return record
        return None

    def change(self, owner: object, pid: int, kind: int, start: int, end: int) -> None:
        """Put OWNER's lock on a range, splitting and joining what it has."""
        kept: list[Record] = []
        for record in self.records:
            if record.owner is not owner or record.end <= start or record.start >= end:
                kept.append(record)
                continue
            if record.start < start:
                kept.append(Record(owner, record.pid, record.kind, record.start, start))
            if record.end > end:
                kept.append(Record(owner, record.pid, record.kind, end, record.end))
        if kind != F_UNLCK:
            kept.append(Record(owner, pid, kind, start, end))
        self.records = kept
        self.queue.wake()

    def forget(self, file: File) -> None:
        """The open file description is gone: its flock and OFD locks go too."""
        self.flocks.pop(file, None)
        self.change(file, 0, F_UNLCK, 0, END)


def locks_of(inode: Inode) -> Locks:
    if inode.locks is None:
        inode.locks = Locks()
    return inode.locks


def flock(task: Task, file: File, operation: int) -> int:
    locks = locks_of(file.inode)
    kind = operation & ~LOCK_NB
    if kind == LOCK_UN:
        locks.flocks.pop(file, None)
        locks.queue.wake()
        return 0
    if kind not in (LOCK_SH, LOCK_EX):
        raise Fail(E.EINVAL)
    for holder, held in locks.flocks.items():
        if holder is not file and LOCK_EX in (kind, held):
            locks.flocks.pop(file, None)
            if operation & LOCK_NB:
                raise Fail(E.EWOULDBLOCK)
            raise Block((locks.queue,))
    locks.flocks[file] = kind
    locks.queue.wake()
    return 0


def lock_control(task: Task, file: File, command: int, address: int) -> int:
    """F_GETLK, F_SETLK, F_SETLKW and their OFD forms."""
    kind, whence, start, length, pid = struct.unpack("=hh4xqqi", _sys.vm_read(task.tid, address, 28))
    owner: object = file if command >= 36 else task.process
    if command >= 36 and pid:
        raise Fail(E.EINVAL)
    start, end = _range(file, whence, start, length)
    locks = locks_of(file.inode)
    if command in GET:
        found = locks.conflict(owner, kind, start, end)
        if found is None:
            record = struct.pack("=hh", F_UNLCK, whence)
            task.process.kernel.put(task, address, record)
        else:
            size = 0 if found.end == END else found.end - found.start
            task.process.kernel.put(
                task, address, struct.pack("=hh4xqqi", found.kind, 0, found.start, size, found.pid)
            )
        return 0
    if kind not in (F_RDLCK, F_WRLCK, F_UNLCK):
        raise Fail(E.EINVAL)
    mode = file.flags & O_ACCMODE
    if (kind == F_RDLCK and mode == O_WRONLY) or (kind == F_WRLCK and mode == O_RDONLY):
        raise Fail(E.EBADF)
    if kind != F_UNLCK and locks.conflict(owner, kind, start, end):
        if command in SET:
            raise Fail(E.EAGAIN)
        if _deadlock(task, locks, owner, kind, start, end):
            raise Fail(E.EDEADLK)
        raise Block((locks.queue,))
    locks.change(owner, -1 if command >= 36 else task.process.pid, kind, start, end)
    task.process.locked = True
    return 0


_waiting: dict[object, Record] = {}


def _deadlock(task: Task, locks: Locks, owner: object, kind: int, start: int, end: int) -> bool:
    """Whether the holder waits, directly or not, for us."""
    _waiting.pop(owner, None)
    blocker = locks.conflict(owner, kind, start, end)
    seen = 0
    at = blocker
    while at is not None and seen < 64:
        if at.owner is owner:
            return True
        at, seen = _waiting.get(at.owner), seen + 1
    if blocker is not None:
        _waiting[owner] = blocker
    return False


def _range(file: File, whence: int, start: int, length: int) -> tuple[int, int]:
    if whence == 1:
        start += file.offset
    elif whence == 2:
        file.inode.refresh()
        start += file.inode.size
    elif whence:
        raise Fail(E.EINVAL)
    if length < 0:
        start, length = start + length, -length
    if start < 0:
        raise Fail(E.EINVAL)
    return start, start + length if length else END


def release_posix(process: Process, file: File) -> None:
    """close(2) of any descriptor drops all of the process's records on the file."""
    locks = file.inode.locks
    if process.locked and locks is not None:
        _waiting.pop(process, None)
        locks.change(process, 0, F_UNLCK, 0, END)
