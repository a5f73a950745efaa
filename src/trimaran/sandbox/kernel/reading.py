"""Reading, writing and positions (read(2), readv(2), lseek(2), getdents64(2))."""

from __future__ import annotations

import errno as E
import struct

from trimaran.linux import _sys
from trimaran.sandbox.kernel.file import CHUNK, O_ACCMODE, O_APPEND, O_PATH, O_RDONLY, O_WRONLY, File
from trimaran.sandbox.kernel.outcome import Block, Fail
from trimaran.sandbox.kernel.task import Task
from trimaran.sandbox.kernel.vfs.opening import DirectoryFile

SIGPIPE = 13
IOV_MAX = 1024
RWF_APPEND, RWF_NOWAIT = 0x10, 0x8
RWF_KNOWN = 0x1F


def readable(task: Task, fd: int) -> File:
    """The file of a descriptor that may be read. Raises Fail(EBADF)."""
    file = task.file(fd)
    if file.flags & O_PATH or file.flags & O_ACCMODE == O_WRONLY:
        raise Fail(E.EBADF)
    return file


def writable(task: Task, fd: int) -> File:
    """The file of a descriptor that may be written. Raises Fail(EBADF)."""
    file = task.file(fd)
    if file.flags & O_PATH or file.flags & O_ACCMODE == O_RDONLY:
        raise Fail(E.EBADF)
    return file


def s64(value: int) -> int:
    """An argument as the C long that it is."""
    return value - (1 << 64) if value >> 63 else value


def sys_read(task: Task, fd: int, address: int, size: int, *_: int) -> int:
    return readable(task, fd).read_into(task, address, size)


def sys_write(task: Task, fd: int, address: int, size: int, *_: int) -> int:
    file = writable(task, fd)
    if file.seekable:
        return file.write_from(task, address, size)
    data = task.first
    if type(data) is int:
        raise Fail(data)
    if type(data) is not bytes:
        # More than is read together with the call.
        data = task.first = _sys.vm_read(task.tid, address, min(size, CHUNK))
    return write_all(task, file, data)


def write_all(task: Task, file: File, data: bytes) -> int:
    """Write to a stream; a blocking one takes all of it, over as many turns as that needs.

    What is left is kept in ``task.state``: the caller's memory is read once.
    """
    done, total = task.state if type(task.state) is tuple else (0, len(data))
    if task.state is not None:
        data = data[done:]
    try:
        while True:
            put = file.write(task, data)
            done += put
            if done >= total or (put < len(data) and file.flags & 0x800):
                return int(done)
            data = data[put:]
    except Block as block:
        task.state = (done, total)
        block.done = int(done)
        raise
    except Fail as failure:
        if failure.errno == E.EPIPE:
            task.process.kernel.signals.send_thread(task, SIGPIPE)
        if done:
            return int(done)
        raise


def sys_pread64(task: Task, fd: int, address: int, size: int, offset: int, *_: int) -> int:
    file = readable(task, fd)
    if s64(offset) < 0:
        raise Fail(E.EINVAL)
    return file.pread_into(task, address, size, offset)


def sys_pwrite64(task: Task, fd: int, address: int, size: int, offset: int, *_: int) -> int:
    file = writable(task, fd)
    if s64(offset) < 0:
        raise Fail(E.EINVAL)
    return file.pwrite_from(task, address, size, _append(file, offset))


def _append(file: File, offset: int) -> int:
    """pwrite to a file opened with O_APPEND goes to its end (pwrite(2), BUGS)."""
    if file.flags & O_APPEND and file.inode.is_regular:
        file.inode.refresh()
        return file.inode.size
    return offset


def vectors(task: Task, address: int, count: int) -> list[tuple[int, int]]:
    """The struct iovec array of a call: base and length of each. Raises Fail (EINVAL, EFAULT)."""
    if not 0 <= count <= IOV_MAX:
        raise Fail(E.EINVAL)
    words = struct.unpack(f"={2 * count}Q", _sys.vm_read(task.tid, address, 16 * count))
    pairs = list(zip(words[::2], words[1::2], strict=True))
    if sum(length for _, length in pairs) > 1 << 62 or any(length >> 63 for _, length in pairs):
        raise Fail(E.EINVAL)
    return pairs


def gather(task: Task, address: int, count: int, limit: int = 1 << 24) -> bytes:
    """The bytes that an iovec array points to, read once; at most LIMIT."""
    parts, left = [], limit
    for base, length in vectors(task, address, count):
        if left <= 0:
            break
        parts.append(_sys.vm_read(task.tid, base, min(length, left)))
        left -= length
    return b"".join(parts)


def scatter(task: Task, pairs: list[tuple[int, int]], data: bytes) -> int:
    """Spread DATA over the places of an iovec array."""
    at = 0
    for base, length in pairs:
        part = data[at : at + length]
        if not part:
            break
        task.process.kernel.put(task, base, part)
        at += len(part)
    return at


def _read_vectors(task: Task, file: File, address: int, count: int, offset: int | None) -> int:
    pairs = vectors(task, address, count)
    if not file.seekable:
        if offset is not None:
            raise Fail(E.ESPIPE)
        data = file.read(task, min(sum(length for _, length in pairs), 1 << 20))
        return scatter(task, pairs, data)
    done = 0
    for base, length in pairs:
        if not length:
            continue
        if offset is None:
            got = file.read_into(task, base, length)
        else:
            got = file.pread_into(task, base, length, offset + done)
        done += got
        if got < length:
            break
    return done


def _write_vectors(task: Task, file: File, address: int, count: int, offset: int | None) -> int:
    if not file.seekable:
        if offset is not None:
            raise Fail(E.ESPIPE)
        data = b"" if task.state is not None else gather(task, address, count)
        if task.state is None:
            task.second = data
        return write_all(task, file, task.second)  # type: ignore[arg-type]
    done = 0
    for base, length in vectors(task, address, count):
        if not length:
            continue
        if offset is None:
            put = file.write_from(task, base, length)
        else:
            put = file.pwrite_from(task, base, length, offset + done)
        done += put
        if put < length:
            break
    return done


def sys_readv(task: Task, fd: int, address: int, count: int, *_: int) -> int:
    return _read_vectors(task, readable(task, fd), address, count, None)


def sys_writev(task: Task, fd: int, address: int, count: int, *_: int) -> int:
    return _write_vectors(task, writable(task, fd), address, count, None)


def _offset(low: int, high: int) -> int:
    offset = s64(low)
    if offset < 0:
        raise Fail(E.EINVAL)
    return offset


def sys_preadv(task: Task, fd: int, address: int, count: int, low: int, high: int, *_: int) -> int:
    return _read_vectors(task, readable(task, fd), address, count, _offset(low, high))


def sys_pwritev(task: Task, fd: int, address: int, count: int, low: int, high: int, *_: int) -> int:
    file = writable(task, fd)
    return _write_vectors(task, file, address, count, _append(file, _offset(low, high)))


def sys_preadv2(task: Task, fd: int, address: int, count: int, low: int, high: int, flags: int) -> int:
    if flags & ~RWF_KNOWN:
        raise Fail(E.EOPNOTSUPP)
    offset = None if s64(low) == -1 else _offset(low, high)
    return _read_vectors(task, readable(task, fd), address, count, offset)


def sys_pwritev2(task: Task, fd: int, address: int, count: int, low: int, high: int, flags: int) -> int:
    if flags & ~RWF_KNOWN:
        raise Fail(E.EOPNOTSUPP)
    file = writable(task, fd)
    offset = None if s64(low) == -1 else _append(file, _offset(low, high))
    if flags & RWF_APPEND and file.inode.is_regular:
        file.inode.refresh()
        offset = file.inode.size
    return _write_vectors(task, file, address, count, offset)


def sys_lseek(task: Task, fd: int, offset: int, whence: int, *_: int) -> int:
    file = task.file(fd)
    if file.flags & O_PATH:
        raise Fail(E.EBADF)
    return file.seek(task, s64(offset), whence & 0xFFFFFFFF)


def sys_getdents64(task: Task, fd: int, address: int, size: int, *_: int) -> int:
    file = readable(task, fd)
    if not isinstance(file, DirectoryFile):
        raise Fail(E.ENOTDIR)
    before = file.offset
    data = file.records(min(size & 0xFFFFFFFF, 1 << 20))
    if data and _sys.vm_write(task.tid, address, data) != len(data):
        file.offset = before
        raise Fail(E.EFAULT)
    return len(data)
