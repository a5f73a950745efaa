"""Moving data between descriptors, and a file's storage (sendfile(2), splice(2), fallocate(2))."""

from __future__ import annotations

import errno as E
import os
import struct

from trimaran.linux import _sys
from trimaran.sandbox.kernel.file import O_APPEND, O_NONBLOCK, O_PATH, File
from trimaran.sandbox.kernel.outcome import Block, Fail
from trimaran.sandbox.kernel.reading import readable, s64, writable
from trimaran.sandbox.kernel.task import Task
from trimaran.sandbox.kernel.vfs.opening import RegularFile

STEP = 1 << 16
LIMIT = 1 << 20


def _load(task: Task, address: int) -> int:
    return int(struct.unpack("=q", _sys.vm_read(task.tid, address, 8))[0])


def _store(task: Task, address: int, value: int) -> None:
    task.process.kernel.put(task, address, struct.pack("=q", value))


def _move(task: Task, source: File, target: File, size: int, nonblocking: bool) -> int:
    """Up to SIZE bytes from the position of SOURCE; nothing that the target does not take is lost."""
    done = 0
    while done < size:
        data = task.state if type(task.state) is bytes else b""
        try:
            if not data:
                data = source.read(task, min(size - done, STEP))
            if not data:
                break
            put = target.write(task, data)
        except (Block, Fail) as stop:
            if done or isinstance(stop, Fail) or nonblocking or source.seekable:
                _give_back(source, data)
                data = b""
            task.state = data or None
            if done:
                return done
            raise (Fail(E.EAGAIN) if nonblocking and isinstance(stop, Block) else stop) from None
        task.state = None
        done += put
        if put < len(data):
            _give_back(source, data[put:])
            break
        if not source.seekable:
            break
    return done


def _give_back(source: File, data: bytes) -> None:
    if not data:
        return
    if source.seekable:
        source.offset -= len(data)
    else:
        source.unread(data)


def sys_sendfile(task: Task, out: int, fd: int, offset: int, count: int, *_: int) -> int:
    source, target = readable(task, fd), writable(task, out)
    if not isinstance(source, RegularFile) and not source.seekable:
        raise Fail(E.EINVAL)
    if target.flags & O_APPEND:
        raise Fail(E.EINVAL)
    if not offset:
        return _move(task, source, target, min(count, LIMIT), False)
    start, kept = _load(task, offset), source.offset
    if start < 0:
        raise Fail(E.EINVAL)
    source.offset = start
    try:
        done = _move(task, source, target, min(count, LIMIT), False)
        _store(task, offset, source.offset)
    finally:
        source.offset = kept
    return done


def _positioned(task: Task, file: File, address: int) -> int | None:
    """Set the position from memory for one call; the old one."""
    if not address:
        return None
    if not file.seekable:
        raise Fail(E.ESPIPE)
    kept, file.offset = file.offset, _load(task, address)
    return kept


def _between(
    task: Task, source: File, off_in: int, target: File, off_out: int, size: int, nonblocking: bool
) -> int:
    kept_in = _positioned(task, source, off_in)
    kept_out = _positioned(task, target, off_out)
    try:
        done = _move(task, source, target, min(size, LIMIT), nonblocking)
        if kept_in is not None:
            _store(task, off_in, source.offset)
        if kept_out is not None:
            _store(task, off_out, target.offset)
    finally:
        if kept_in is not None:
            source.offset = kept_in
        if kept_out is not None:
            target.offset = kept_out
    return done


def sys_splice(task: Task, fd_in: int, off_in: int, fd_out: int, off_out: int, size: int, flags: int) -> int:
    source, target = readable(task, fd_in), writable(task, fd_out)
    if not (source.inode.mode & 0o170000 == 0o010000 or target.inode.mode & 0o170000 == 0o010000):
        raise Fail(E.EINVAL)
    if target.flags & O_APPEND:
        raise Fail(E.EINVAL)
    return _between(task, source, off_in, target, off_out, size, bool(flags & 2))


def sys_copy_file_range(
    task: Task, fd_in: int, off_in: int, fd_out: int, off_out: int, size: int, flags: int
) -> int:
    if flags:
        raise Fail(E.EINVAL)
    source, target = readable(task, fd_in), writable(task, fd_out)
    if not isinstance(source, RegularFile) or not isinstance(target, RegularFile):
        raise Fail(E.EINVAL)
    if target.flags & O_APPEND:
        raise Fail(E.EBADF)
    start_in = _load(task, off_in) if off_in else source.offset
    start_out = _load(task, off_out) if off_out else target.offset
    if source.inode is target.inode and start_in < start_out + size and start_out < start_in + size:
        raise Fail(E.EINVAL)
    return _between(task, source, off_in, target, off_out, size, False)


def sys_ftruncate(task: Task, fd: int, size: int, *_: int) -> int:
    file = writable_or_invalid(task, fd)
    if s64(size) < 0:
        raise Fail(E.EINVAL)
    if size > task.process.limits[1][0]:
        task.process.kernel.signals.send(task.process, 25)
        raise Fail(E.EFBIG)
    truncate = getattr(file, "truncate", None)
    if truncate is not None:
        truncate(size)
    else:
        file.inode.truncate(size)
    return 0


def writable_or_invalid(task: Task, fd: int) -> File:
    """ftruncate and fallocate say EINVAL for a descriptor that cannot be written."""
    file = task.file(fd)
    if file.flags & O_PATH:
        raise Fail(E.EBADF)
    try:
        return writable(task, fd)
    except Fail:
        raise Fail(E.EINVAL) from None


def sys_fallocate(task: Task, fd: int, mode: int, offset: int, size: int, *_: int) -> int:
    file = writable(task, fd)
    if s64(offset) < 0 or s64(size) <= 0:
        raise Fail(E.EINVAL)
    if not isinstance(file, RegularFile):
        raise Fail(E.ESPIPE if not file.seekable else E.ENODEV)
    mode &= 0xFFFFFFFF
    if mode & ~0x7F:
        raise Fail(E.EOPNOTSUPP)
    if not mode:
        file.room(task, offset, size)
        os.posix_fallocate(file.host, offset, size)
        return 0
    _sys.fallocate(file.inode.host, mode, offset, size)
    return 0


def sys_fsync(task: Task, fd: int, *_: int) -> int:
    file = task.file(fd)
    if file.flags & O_PATH:
        raise Fail(E.EBADF)
    if isinstance(file, RegularFile):
        if file.inode.layer.writable and task.process.kernel.settings.durable:
            os.fsync(file.inode.host)
        return 0
    if not (file.inode.is_dir or file.seekable):
        raise Fail(E.EINVAL)
    return 0


sys_fdatasync = sys_fsync


def sys_sync(task: Task, *_: int) -> int:
    return 0


def sys_syncfs(task: Task, fd: int, *_: int) -> int:
    task.file(fd)
    return 0


def sys_sync_file_range(task: Task, fd: int, offset: int, size: int, flags: int, *_: int) -> int:
    file = task.file(fd)
    if flags & ~7 or s64(offset) < 0 or s64(size) < 0:
        raise Fail(E.EINVAL)
    if not isinstance(file, RegularFile):
        raise Fail(E.ESPIPE)
    return 0


def sys_fadvise64(task: Task, fd: int, offset: int, size: int, advice: int, *_: int) -> int:
    file = task.file(fd)
    if file.flags & O_PATH:
        raise Fail(E.EBADF)
    if not file.seekable:
        raise Fail(E.ESPIPE)
    if advice & 0xFFFFFFFF > 5 or s64(size) < 0:
        raise Fail(E.EINVAL)
    return 0


def sys_readahead(task: Task, fd: int, *_: int) -> int:
    if not isinstance(readable(task, fd), RegularFile):
        raise Fail(E.EINVAL)
    return 0


def sys_tee(task: Task, fd_in: int, fd_out: int, size: int, flags: int, *_: int) -> int:
    source, target = readable(task, fd_in), writable(task, fd_out)
    peek = getattr(source, "peek", None)
    if peek is None or target.inode.mode & 0o170000 != 0o010000 or source.inode is target.inode:
        raise Fail(E.EINVAL)
    data = peek(min(size, STEP))
    if not data:
        if source.poll() & 16:
            return 0
        if flags & 2 or source.flags & O_NONBLOCK:
            raise Fail(E.EAGAIN)
        raise Block((source.waiters,))
    return target.write(task, data)


def sys_vmsplice(task: Task, fd: int, address: int, count: int, flags: int, *_: int) -> int:
    from trimaran.sandbox.kernel.reading import sys_readv, sys_writev

    file = task.file(fd)
    if file.inode.mode & 0o170000 != 0o010000:
        raise Fail(E.EBADF)
    if file.flags & 3 == 1:
        return sys_writev(task, fd, address, count)
    return sys_readv(task, fd, address, count)
