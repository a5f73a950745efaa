"""Descriptors: close, dup, fcntl, ioctl, locks (dup(2), fcntl(2), flock(2))."""

from __future__ import annotations

import errno as E
import struct

from trimaran.linux import _sys
from trimaran.sandbox.kernel.file import O_APPEND, O_ASYNC, O_NONBLOCK, O_PATH
from trimaran.sandbox.kernel.locks import flock, lock_control, release_posix
from trimaran.sandbox.kernel.outcome import Continue, Fail
from trimaran.sandbox.kernel.task import Task

O_CLOEXEC = 0o2000000
CHANGEABLE = O_APPEND | O_NONBLOCK | O_ASYNC | 0x4000 | 0x40000
F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GETLK, F_SETLK, F_SETLKW, F_SETOWN, F_GETOWN = range(10)
F_SETSIG, F_GETSIG, F_SETOWN_EX, F_GETOWN_EX = 10, 11, 15, 16
F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW = 36, 37, 38
F_SETLEASE, F_GETLEASE, F_NOTIFY, F_DUPFD_CLOEXEC, F_SETPIPE_SZ, F_GETPIPE_SZ = (
    1024,
    1025,
    1026,
    1030,
    1031,
    1032,
)
F_ADD_SEALS, F_GET_SEALS = 1033, 1034
FIOCLEX, FIONCLEX, FIONBIO, FIOASYNC = 0x5451, 0x5450, 0x5421, 0x5452


def sys_close(task: Task, fd: int, *_: int) -> int:
    table = task.process.files
    fd &= 0xFFFFFFFF
    file = table.remove(fd)
    if task.process.locked:
        release_posix(task.process, file)
    file.drop()
    if fd in table.injected:
        table.injected.discard(fd)
        raise Continue
    return 0


def sys_close_range(task: Task, first: int, last: int, flags: int, *_: int) -> int:
    first, last = first & 0xFFFFFFFF, last & 0xFFFFFFFF
    if first > last or flags & ~6:
        raise Fail(E.EINVAL)
    process = task.process
    if flags & 2 and process.files.sharers > 1:
        own = process.files.copy()
        process.files.leave()
        process.files = own
    table = process.files
    for fd in [fd for fd in table.files if first <= fd <= last]:
        if flags & 4:
            table.cloexec.add(fd)
        else:
            file = table.remove(fd)
            release_posix(process, file)
            file.drop()
    return 0


def sys_dup(task: Task, fd: int, *_: int) -> int:
    return task.install(task.file(fd), cloexec=False)


def sys_dup2(task: Task, old: int, new: int, *_: int) -> int:
    if old & 0xFFFFFFFF == new & 0xFFFFFFFF:
        task.file(old)
        return new & 0xFFFFFFFF
    return _dup_to(task, old, new, cloexec=False)


def sys_dup3(task: Task, old: int, new: int, flags: int, *_: int) -> int:
    if flags & ~O_CLOEXEC or old & 0xFFFFFFFF == new & 0xFFFFFFFF:
        raise Fail(E.EINVAL)
    return _dup_to(task, old, new, cloexec=bool(flags))


def _dup_to(task: Task, old: int, new: int, *, cloexec: bool) -> int:
    file, new = task.file(old), new & 0xFFFFFFFF
    if new >= task.process.limits[7][0]:
        raise Fail(E.EBADF)
    replaced = task.process.files.files.get(new)
    if replaced is not None:
        release_posix(task.process, replaced)
    task.process.files.replace(new, file, cloexec=cloexec)
    return new


def sys_fcntl(task: Task, fd: int, command: int, argument: int, *_: int) -> int:
    file = task.file(fd)
    table = task.process.files
    fd &= 0xFFFFFFFF
    if command == F_GETFD:
        return int(fd in table.cloexec)
    if command == F_SETFD:
        (table.cloexec.add if argument & 1 else table.cloexec.discard)(fd)
        return 0
    if command == F_GETFL:
        return file.flags & ~O_CLOEXEC
    if command in (F_DUPFD, F_DUPFD_CLOEXEC):
        if argument >= task.process.limits[7][0]:
            raise Fail(E.EINVAL)
        return task.install(file, cloexec=command == F_DUPFD_CLOEXEC, lowest=argument)
    if file.flags & O_PATH:
        raise Fail(E.EBADF)
    if command == F_SETFL:
        file.flags = file.flags & ~CHANGEABLE | argument & CHANGEABLE
        return 0
    if command in (F_GETLK, F_SETLK, F_SETLKW, F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW):
        return lock_control(task, file, command, argument)
    return _fcntl_rest(task, command, argument, file)


def _fcntl_rest(task: Task, command: int, argument: int, file: object) -> int:
    from trimaran.sandbox.kernel.file import File

    assert isinstance(file, File)
    if command == F_SETOWN:
        file.owner = argument & 0xFFFFFFFF
        return 0
    if command == F_GETOWN:
        return file.owner
    if command == F_SETSIG:
        file.signal = argument
        return 0
    if command == F_GETSIG:
        return file.signal
    if command == F_SETOWN_EX:
        file.owner = struct.unpack("=ii", _sys.vm_read(task.tid, argument, 8))[1]
        return 0
    if command == F_GETOWN_EX:
        task.process.kernel.put(task, argument, struct.pack("=ii", 1, file.owner))
        return 0
    if command == F_GETLEASE:
        return 2
    if command == F_NOTIFY and file.inode.is_dir:
        return 0
    handler = getattr(file, "control", None)
    if handler is None:
        raise Fail(E.EINVAL)
    return int(handler(task, command, argument))


def sys_ioctl(task: Task, fd: int, command: int, argument: int, *_: int) -> int:
    file = task.file(fd)
    command &= 0xFFFFFFFF
    if file.flags & O_PATH:
        raise Fail(E.EBADF)
    if command == FIOCLEX:
        task.process.files.cloexec.add(fd & 0xFFFFFFFF)
        return 0
    if command == FIONCLEX:
        task.process.files.cloexec.discard(fd & 0xFFFFFFFF)
        return 0
    if command in (FIONBIO, FIOASYNC):
        bit = O_NONBLOCK if command == FIONBIO else O_ASYNC
        on = struct.unpack("=i", _sys.vm_read(task.tid, argument, 4))[0]
        file.flags = file.flags | bit if on else file.flags & ~bit
        return 0
    return file.ioctl(task, command, argument)


def sys_flock(task: Task, fd: int, operation: int, *_: int) -> int:
    return flock(task, task.file(fd), operation)
