"""Answers FUSE requests for one shared directory or file."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass

from trimaran.vm.share import wire
from trimaran.vm.share.nodes import ROOT, Handles, Nodes, checked

MAX_WRITE = 256 << 10
_CACHE_SECONDS = 1
_SAFE_OPEN = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
# Of the guest's open(2) flags, what is passed on: the rest is the guest kernel's affair, or unsafe.
_OPEN_FLAGS = os.O_ACCMODE | os.O_APPEND | os.O_TRUNC | os.O_SYNC | os.O_DSYNC
_XATTR_LIMIT = 64 << 10
_CREATABLE = (stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK)


@dataclass(frozen=True)
class Request:
    """One message of the guest's kernel."""

    node: int
    uid: int
    gid: int
    body: memoryview

    def unpack(self, form: struct.Struct) -> tuple[int, ...]:
        """The fixed part of the body."""
        if len(self.body) < form.size:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return form.unpack_from(self.body)

    def names(self, skip: int, count: int) -> list[bytes]:
        """COUNT names, each ended by NUL, after SKIP bytes."""
        parts = bytes(self.body[skip:]).split(b"\0")
        if len(parts) <= count:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return parts[:count]


class Server:
    """Serves what descriptor ROOT (``O_PATH``, taken over) names. ``read_only`` refuses every change."""

    def __init__(self, root: int, *, read_only: bool) -> None:
        self._nodes = Nodes(root)
        self._handles = Handles()
        self._read_only = read_only
        self.root_mode = os.fstat(root).st_mode
        # A file that is shared alone is one that the host writes, such as /etc/resolv.conf.
        self._cache = 0 if stat.S_ISREG(self.root_mode) else _CACHE_SECONDS

    def close(self) -> None:
        """Close every descriptor that the guest holds."""
        self._handles.close()
        self._nodes.close()

    def answer(self, message: bytes) -> bytes | None:
        """The answer to one request; None where none is wanted. Never raises for what the guest sent."""
        if len(message) < wire.IN_HEADER.size:
            return None
        size, opcode, unique, node, uid, gid, _, _ = wire.IN_HEADER.unpack_from(message)
        if opcode in (wire.FORGET, wire.BATCH_FORGET, wire.INTERRUPT):
            self._forget(opcode, node, memoryview(message)[wire.IN_HEADER.size :])
            return None
        handler = _HANDLERS.get(opcode)
        code, result = -errno.ENOSYS, b""
        if size != len(message):
            code = -errno.EINVAL
        elif self._read_only and opcode in _CHANGES:
            code = -errno.EROFS
        elif handler is not None:
            request = Request(node, uid, gid, memoryview(message)[wire.IN_HEADER.size :])
            try:
                code, result = 0, handler(self, request)
            except OSError as error:
                code = -(error.errno or errno.EIO)
            except (ValueError, OverflowError, struct.error):
                code = -errno.EINVAL
        return wire.OUT_HEADER.pack(wire.OUT_HEADER.size + len(result), code, unique) + result

    def _forget(self, opcode: int, node: int, body: memoryview) -> None:
        if opcode == wire.FORGET and len(body) >= 8:
            self._nodes.forget(node, int.from_bytes(body[:8], "little"))
        elif opcode == wire.BATCH_FORGET and len(body) >= 8:
            for at in range(8, len(body) - 15, 16):
                number, count = struct.unpack_from("<QQ", body, at)
                self._nodes.forget(number, count)

    def _init(self, request: Request) -> bytes:
        major, minor, readahead, offered = request.unpack(wire.INIT_IN)
        if major != wire.MAJOR:
            raise OSError(errno.EPROTO, os.strerror(errno.EPROTO))
        wanted = wire.ASYNC_READ | wire.BIG_WRITES | wire.ATOMIC_O_TRUNC | wire.AUTO_INVAL_DATA
        wanted |= wire.DO_READDIRPLUS | wire.READDIRPLUS_AUTO | wire.PARALLEL_DIROPS | wire.MAX_PAGES
        pages = MAX_WRITE // 4096
        return wire.INIT_OUT.pack(
            *(wire.MAJOR, min(minor, wire.MINOR), readahead, offered & wanted),
            *(16, 12, MAX_WRITE, 1, pages, 0, 0),
        )

    def _entry(self, parent: int, name: bytes) -> bytes:
        number, found = self._nodes.lookup(parent, name)
        return wire.ENTRY.pack(number, 0, self._cache, self._cache, 0, 0) + wire.attributes(
            found, found.st_ino
        )

    def _attributes(self, found: os.stat_result) -> bytes:
        return wire.ATTR_OUT.pack(self._cache, 0, 0) + wire.attributes(found, found.st_ino)

    def _lookup(self, request: Request) -> bytes:
        return self._entry(request.node, request.names(0, 1)[0])

    def _getattr(self, request: Request) -> bytes:
        return self._attributes(self._nodes[request.node].stat())

    def _setattr(self, request: Request) -> bytes:
        fields = request.unpack(wire.SETATTR_IN)
        valid, _, handle, size, _, atime, mtime, _, atime_ns, mtime_ns, _, mode, _, uid, gid, _ = fields
        node = self._nodes[request.node]
        if valid & wire.FATTR_MODE:
            os.chmod(node.path, stat.S_IMODE(mode))
        if valid & (wire.FATTR_UID | wire.FATTR_GID):
            os.chown(
                node.path, *(uid if valid & wire.FATTR_UID else -1, gid if valid & wire.FATTR_GID else -1)
            )
        if valid & wire.FATTR_SIZE:
            self._truncate(request.node, handle if valid & wire.FATTR_FH else 0, size)
        if valid & (wire.FATTR_ATIME | wire.FATTR_MTIME):
            now = self._nodes[request.node].stat()
            accessed = _time(valid, wire.FATTR_ATIME, wire.FATTR_ATIME_NOW, atime, atime_ns, now.st_atime_ns)
            modified = _time(valid, wire.FATTR_MTIME, wire.FATTR_MTIME_NOW, mtime, mtime_ns, now.st_mtime_ns)
            os.utime(node.path, ns=(accessed, modified))
        return self._attributes(node.stat())

    def _truncate(self, number: int, handle: int, size: int) -> None:
        if handle:
            os.ftruncate(self._handles[handle], size)
            return
        fd = self._reopen(number, os.O_WRONLY)
        try:
            os.ftruncate(fd, size)
        finally:
            os.close(fd)

    def _reopen(self, number: int, flags: int) -> int:
        """Open a node, which must be a regular file: never a device or a FIFO of the host."""
        node = self._nodes[number]
        if not stat.S_ISREG(node.stat().st_mode):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        if self._read_only and flags & (os.O_ACCMODE | os.O_TRUNC):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return os.open(node.path, flags & _OPEN_FLAGS | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)

    def _readlink(self, request: Request) -> bytes:
        return os.readlink(b"", dir_fd=self._nodes[request.node].fd)

    def _own(self, directory: int, name: bytes, request: Request) -> None:
        """Give a new entry to the process that made it; a set-group-id directory gives its group."""
        gid = -1 if os.fstat(directory).st_mode & stat.S_ISGID else request.gid
        if (request.uid, request.gid) != (os.geteuid(), os.getegid()):
            os.chown(name, request.uid, gid, dir_fd=directory, follow_symlinks=False)

    def _make(self, request: Request, name: bytes, make: Callable[[bytes, int], None]) -> bytes:
        directory = self._nodes.directory(request.node)
        make(checked(name), directory)
        self._own(directory, name, request)
        return self._entry(request.node, name)

    def _symlink(self, request: Request) -> bytes:
        name, target = request.names(0, 2)
        return self._make(request, name, lambda name, fd: os.symlink(target, name, dir_fd=fd))

    def _mknod(self, request: Request) -> bytes:
        mode, _, umask, _ = request.unpack(wire.MKNOD_IN)
        name = request.names(wire.MKNOD_IN.size, 1)[0]
        if stat.S_IFMT(mode) not in _CREATABLE:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        return self._make(request, name, lambda name, fd: os.mknod(name, mode & ~umask, dir_fd=fd))

    def _mkdir(self, request: Request) -> bytes:
        mode, umask = request.unpack(wire.MKDIR_IN)
        name = request.names(wire.MKDIR_IN.size, 1)[0]
        return self._make(request, name, lambda name, fd: os.mkdir(name, mode & ~umask & 0o7777, dir_fd=fd))

    def _unlink(self, request: Request) -> bytes:
        os.unlink(checked(request.names(0, 1)[0]), dir_fd=self._nodes.directory(request.node))
        return b""

    def _rmdir(self, request: Request) -> bytes:
        os.rmdir(checked(request.names(0, 1)[0]), dir_fd=self._nodes.directory(request.node))
        return b""

    def _rename(self, request: Request) -> bytes:
        (target,) = request.unpack(wire.RENAME_IN)
        return self._move(request, target, wire.RENAME_IN.size)

    def _rename2(self, request: Request) -> bytes:
        target, flags, _ = request.unpack(wire.RENAME2_IN)
        # RENAME_NOREPLACE and RENAME_EXCHANGE have no name in the standard library: the guest falls back.
        if flags:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return self._move(request, target, wire.RENAME2_IN.size)

    def _move(self, request: Request, target: int, skip: int) -> bytes:
        old, new = request.names(skip, 2)
        source, destination = self._nodes.directory(request.node), self._nodes.directory(target)
        os.rename(checked(old), checked(new), src_dir_fd=source, dst_dir_fd=destination)
        return b""

    def _link(self, request: Request) -> bytes:
        (old,) = request.unpack(wire.RENAME_IN)
        name = checked(request.names(wire.RENAME_IN.size, 1)[0])
        os.link(
            self._nodes[old].path, name, dst_dir_fd=self._nodes.directory(request.node), follow_symlinks=True
        )
        return self._entry(request.node, name)

    def _open(self, request: Request) -> bytes:
        flags, _ = request.unpack(wire.OPEN_IN)
        # Appending is the guest kernel's: it sends the offset, and pwrite(2) on O_APPEND would ignore it.
        return wire.OPEN_OUT.pack(self._handles.add(self._reopen(request.node, flags & ~os.O_APPEND)), 0, 0)

    def _create(self, request: Request) -> bytes:
        flags, mode, umask, _ = request.unpack(wire.CREATE_IN)
        name = checked(request.names(wire.CREATE_IN.size, 1)[0])
        directory = self._nodes.directory(request.node)
        flags = flags & _OPEN_FLAGS & ~os.O_APPEND | _SAFE_OPEN | os.O_CREAT
        try:
            fd = os.open(name, flags | os.O_EXCL, mode & ~umask & 0o7777, dir_fd=directory)
            self._own(directory, name, request)
        except FileExistsError:
            if request.unpack(wire.CREATE_IN)[0] & os.O_EXCL:
                raise
            entry = self._entry(request.node, name)
            fd = self._reopen(int.from_bytes(entry[:8], "little"), flags & ~os.O_CREAT)
        else:
            entry = self._entry(request.node, name)
        return entry + wire.OPEN_OUT.pack(self._handles.add(fd), 0, 0)

    def _read(self, request: Request) -> bytes:
        handle, offset, size, *_ = request.unpack(wire.READ_IN)
        return os.pread(self._handles[handle], min(size, MAX_WRITE), offset)

    def _write(self, request: Request) -> bytes:
        handle, offset, size, *_ = request.unpack(wire.WRITE_IN)
        data = request.body[wire.WRITE_IN.size :]
        if len(data) != size:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return wire.WRITE_OUT.pack(os.pwrite(self._handles[handle], data, offset), 0)

    def _statfs(self, request: Request) -> bytes:
        found = os.statvfs(self._nodes[ROOT].path)
        return wire.STATFS_OUT.pack(
            *(found.f_blocks, found.f_bfree, found.f_bavail, found.f_files, found.f_ffree),
            *(found.f_bsize & 0xFFFFFFFF, found.f_namemax, found.f_frsize & 0xFFFFFFFF, 0),
        )

    def _release(self, request: Request) -> bytes:
        self._handles.release(request.unpack(wire.RELEASE_IN)[0])
        return b""

    def _fsync(self, request: Request) -> bytes:
        os.fsync(self._handles[request.unpack(wire.FSYNC_IN)[0]])
        return b""

    def _flush(self, request: Request) -> bytes:
        return b""

    def _syncfs(self, request: Request) -> bytes:
        os.sync()
        return b""

    def _opendir(self, request: Request) -> bytes:
        fd = os.open(
            ".", os.O_RDONLY | os.O_DIRECTORY | _SAFE_OPEN, dir_fd=self._nodes.directory(request.node)
        )
        return wire.OPEN_OUT.pack(self._handles.add(fd), 0, 0)

    def _readdir(self, request: Request) -> bytes:
        handle, offset, size, *_ = request.unpack(wire.READ_IN)
        directory = self._handles[handle]
        names = self._handles.listing(handle, fresh=offset == 0)
        result = bytearray()
        for index in range(min(offset, len(names)), len(names)):
            found = _stat_entry(directory, names[index])
            if found is None:
                continue
            record = wire.dirent(found.st_ino, index + 1, names[index], stat.S_IFMT(found.st_mode) >> 12)
            if len(result) + len(record) > min(size, MAX_WRITE):
                break
            result += record
        return bytes(result)

    def _readdirplus(self, request: Request) -> bytes:
        handle, offset, size, *_ = request.unpack(wire.READ_IN)
        names = self._handles.listing(handle, fresh=offset == 0)
        result = bytearray()
        for index in range(min(offset, len(names)), len(names)):
            name = names[index]
            longest = wire.ENTRY.size + wire.ATTR.size + wire.DIRENT.size + len(name) + 8
            if len(result) + longest > min(size, MAX_WRITE):
                break
            try:
                number, found = self._nodes.lookup(request.node, name)
            except OSError:  # gone meanwhile, or no descriptor left for it: the guest looks it up again
                continue
            entry = wire.ENTRY.pack(number, 0, self._cache, self._cache, 0, 0)
            result += entry + wire.attributes(found, found.st_ino)
            result += wire.dirent(found.st_ino, index + 1, name, stat.S_IFMT(found.st_mode) >> 12)
        return bytes(result)

    def _getxattr(self, request: Request) -> bytes:
        size, _ = request.unpack(wire.XATTR_GET_IN)
        name = request.names(wire.XATTR_GET_IN.size, 1)[0]
        return _sized(os.getxattr(self._nodes[request.node].path, name), size)

    def _listxattr(self, request: Request) -> bytes:
        size, _ = request.unpack(wire.XATTR_GET_IN)
        names = os.listxattr(self._nodes[request.node].path)
        return _sized(b"".join(os.fsencode(name) + b"\0" for name in names), size)

    def _setxattr(self, request: Request) -> bytes:
        size, flags = request.unpack(wire.XATTR_SET_IN)
        name = request.names(wire.XATTR_SET_IN.size, 1)[0]
        value = request.body[wire.XATTR_SET_IN.size + len(name) + 1 :]
        if len(value) != size or size > _XATTR_LIMIT:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        os.setxattr(self._nodes[request.node].path, name, value, flags & 3)
        return b""

    def _removexattr(self, request: Request) -> bytes:
        os.removexattr(self._nodes[request.node].path, request.names(0, 1)[0])
        return b""

    def _fallocate(self, request: Request) -> bytes:
        handle, offset, length, mode, _ = request.unpack(wire.FALLOCATE_IN)
        if mode:  # punching holes and the like: the guest's caller falls back to writing zeros
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        os.posix_fallocate(self._handles[handle], offset, length)
        return b""

    def _lseek(self, request: Request) -> bytes:
        handle, offset, whence, _ = request.unpack(wire.LSEEK_IN)
        return os.lseek(self._handles[handle], offset, whence).to_bytes(8, "little")

    def _destroy(self, request: Request) -> bytes:
        return b""


def _time(valid: int, bit: int, now: int, seconds: int, nanoseconds: int, old: int) -> int:
    if not valid & bit:
        return old
    if valid & now:
        import time

        return time.time_ns()
    signed: int = struct.unpack("<q", struct.pack("<Q", seconds))[0]
    return signed * 1_000_000_000 + nanoseconds


def _stat_entry(directory: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return None


def _sized(data: bytes, size: int) -> bytes:
    """What getxattr and listxattr answer: only the length if SIZE is 0."""
    if not size:
        return len(data).to_bytes(4, "little") + bytes(4)
    if len(data) > size:
        raise OSError(errno.ERANGE, os.strerror(errno.ERANGE))
    return data


_HANDLERS: dict[int, Callable[[Server, Request], bytes]] = {
    wire.INIT: Server._init,
    wire.LOOKUP: Server._lookup,
    wire.GETATTR: Server._getattr,
    wire.SETATTR: Server._setattr,
    wire.READLINK: Server._readlink,
    wire.SYMLINK: Server._symlink,
    wire.MKNOD: Server._mknod,
    wire.MKDIR: Server._mkdir,
    wire.UNLINK: Server._unlink,
    wire.RMDIR: Server._rmdir,
    wire.RENAME: Server._rename,
    wire.RENAME2: Server._rename2,
    wire.LINK: Server._link,
    wire.OPEN: Server._open,
    wire.CREATE: Server._create,
    wire.READ: Server._read,
    wire.WRITE: Server._write,
    wire.STATFS: Server._statfs,
    wire.RELEASE: Server._release,
    wire.FSYNC: Server._fsync,
    wire.FLUSH: Server._flush,
    wire.SYNCFS: Server._syncfs,
    wire.OPENDIR: Server._opendir,
    wire.READDIR: Server._readdir,
    wire.READDIRPLUS: Server._readdirplus,
    wire.RELEASEDIR: Server._release,
    wire.FSYNCDIR: Server._fsync,
    wire.GETXATTR: Server._getxattr,
    wire.LISTXATTR: Server._listxattr,
    wire.SETXATTR: Server._setxattr,
    wire.REMOVEXATTR: Server._removexattr,
    wire.FALLOCATE: Server._fallocate,
    wire.LSEEK: Server._lseek,
    wire.DESTROY: Server._destroy,
}

_CHANGES = frozenset(
    (
        *(wire.SETATTR, wire.SYMLINK, wire.MKNOD, wire.MKDIR, wire.UNLINK, wire.RMDIR, wire.RENAME),
        *(wire.RENAME2, wire.LINK, wire.CREATE, wire.WRITE, wire.SETXATTR, wire.REMOVEXATTR, wire.FALLOCATE),
    )
)
