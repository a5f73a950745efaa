"""The socket calls (socket(2), sendmsg(2), recvmsg(2), cmsg(3))."""

from __future__ import annotations

import errno as E
import struct

from trimaran.linux import _sys
from trimaran.sandbox.abi.structs import MSGHDR
from trimaran.sandbox.kernel.file import CHUNK, O_NONBLOCK
from trimaran.sandbox.kernel.outcome import Block, Fail
from trimaran.sandbox.kernel.reading import SIGPIPE, gather, scatter, vectors
from trimaran.sandbox.kernel.signals import s32
from trimaran.sandbox.kernel.socket.base import (
    AF_INET,
    AF_INET6,
    AF_NETLINK,
    AF_UNIX,
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    MSG_TRUNC,
    MSG_WAITFORONE,
    SOCK_DGRAM,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOL_SOCKET,
    Control,
    Received,
    Socket,
)
from trimaran.sandbox.kernel.socket.inet import InetSocket
from trimaran.sandbox.kernel.socket.netlink import NetlinkSocket
from trimaran.sandbox.kernel.socket.unix import UnixSocket
from trimaran.sandbox.kernel.task import CAP_SETGID, CAP_SETUID, Task

SOCK_CLOEXEC, SOCK_NONBLOCK, TYPE_MASK = 0x80000, 0x800, 0xF
SCM_RIGHTS, SCM_CREDENTIALS = 1, 2
CMSG = struct.Struct("=QII")
ADDRESS_LIMIT = 128
CONTROL_LIMIT = 1 << 16
FILES_LIMIT = 253
CAP_SYS_ADMIN = 21


def _socket(task: Task, fd: int) -> Socket:
    file = task.file(fd)
    if not isinstance(file, Socket):
        raise Fail(E.ENOTSOCK)
    return file


def _kind(kind: int) -> tuple[int, int, bool]:
    if kind & ~(TYPE_MASK | SOCK_CLOEXEC | SOCK_NONBLOCK):
        raise Fail(E.EINVAL)
    return kind & TYPE_MASK, kind & SOCK_NONBLOCK, bool(kind & SOCK_CLOEXEC)


def sys_socket(task: Task, family: int, kind: int, protocol: int, *_: int) -> int:
    kind, flags, cloexec = _kind(kind)
    protocol = s32(protocol)
    file: Socket
    if family == AF_UNIX:
        if kind not in (SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET):
            raise Fail(E.ESOCKTNOSUPPORT)
        if protocol not in (0, AF_UNIX):
            raise Fail(E.EPROTONOSUPPORT)
        file = UnixSocket(task, kind, flags)
    elif family in (AF_INET, AF_INET6):
        if kind not in (SOCK_STREAM, SOCK_DGRAM):
            raise Fail(E.EPERM if kind == 3 else E.ESOCKTNOSUPPORT)
        if protocol not in ((0, 6) if kind == SOCK_STREAM else (0, 17, 136)):
            raise Fail(E.EPROTONOSUPPORT)
        file = InetSocket(task.process.kernel, family, kind, protocol or (6 if kind == 1 else 17), flags)
    elif family == AF_NETLINK:
        file = NetlinkSocket(task, kind, protocol, flags)
    else:
        raise Fail(E.EAFNOSUPPORT)
    return task.install(file, cloexec=cloexec)


def sys_socketpair(task: Task, family: int, kind: int, protocol: int, address: int, *_: int) -> int:
    kind, flags, cloexec = _kind(kind)
    if family != AF_UNIX:
        raise Fail(E.EOPNOTSUPP if family in (AF_INET, AF_INET6) else E.EAFNOSUPPORT)
    if kind not in (SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET):
        raise Fail(E.ESOCKTNOSUPPORT)
    one, two = UnixSocket(task, kind, flags), UnixSocket(task, kind, flags)
    one.pair(two)
    first = task.install(one, cloexec=cloexec)
    try:
        second = task.install(two, cloexec=cloexec)
    except Fail:
        task.process.files.remove(first).drop()
        raise
    task.process.kernel.put(task, address, struct.pack("=ii", first, second))
    return 0


def _address(task: Task, pointer: int, size: int) -> bytes:
    size = s32(size)
    if not 0 <= size <= ADDRESS_LIMIT:
        raise Fail(E.EINVAL)
    return _sys.vm_read(task.tid, pointer, size) if size else b""


def _give_address(task: Task, pointer: int, size_at: int, address: bytes) -> None:
    if not pointer or not size_at:
        return
    room = struct.unpack("=i", _sys.vm_read(task.tid, size_at, 4))[0]
    if room < 0:
        raise Fail(E.EINVAL)
    if room and address:
        task.process.kernel.put(task, pointer, address[:room])
    task.process.kernel.put(task, size_at, struct.pack("=i", len(address)))


def sys_bind(task: Task, fd: int, pointer: int, size: int, *_: int) -> int:
    _socket(task, fd).bind(task, _address(task, pointer, size))
    return 0


def sys_listen(task: Task, fd: int, backlog: int, *_: int) -> int:
    _socket(task, fd).listen(task, max(0, s32(backlog)))
    return 0


def sys_connect(task: Task, fd: int, pointer: int, size: int, *_: int) -> int:
    socket = _socket(task, fd)
    if type(task.second) is not bytes:
        task.second = _address(task, pointer, size)
    socket.connect(task, task.second)
    return 0


def sys_accept(task: Task, fd: int, pointer: int, size_at: int, *_: int) -> int:
    return sys_accept4(task, fd, pointer, size_at, 0)


def sys_accept4(task: Task, fd: int, pointer: int, size_at: int, flags: int, *_: int) -> int:
    if flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK):
        raise Fail(E.EINVAL)
    listener = _socket(task, fd)
    socket = listener.accept(task)
    socket.flags |= flags & O_NONBLOCK
    held = socket.refs > 0
    number = task.install(socket, cloexec=bool(flags & SOCK_CLOEXEC))
    if held:
        socket.refs -= 1
    if pointer:
        try:
            _give_address(task, pointer, size_at, socket.peer_address())
        except OSError:
            _give_address(task, pointer, size_at, b"")
    return number


def sys_getsockname(task: Task, fd: int, pointer: int, size_at: int, *_: int) -> int:
    _give_address(task, pointer, size_at, _socket(task, fd).own_address())
    return 0


def sys_getpeername(task: Task, fd: int, pointer: int, size_at: int, *_: int) -> int:
    _give_address(task, pointer, size_at, _socket(task, fd).peer_address())
    return 0


def sys_shutdown(task: Task, fd: int, how: int, *_: int) -> int:
    _socket(task, fd).shutdown(task, how & 0xFFFFFFFF)
    return 0


def sys_setsockopt(task: Task, fd: int, level: int, option: int, pointer: int, size: int, *_: int) -> int:
    socket = _socket(task, fd)
    size = s32(size)
    if not 0 <= size <= 4096:
        raise Fail(E.EINVAL)
    value = _sys.vm_read(task.tid, pointer, size) if size else b""
    socket.set_option(task, s32(level), s32(option), value)
    return 0


def sys_getsockopt(task: Task, fd: int, level: int, option: int, pointer: int, size_at: int, *_: int) -> int:
    socket = _socket(task, fd)
    room = struct.unpack("=i", _sys.vm_read(task.tid, size_at, 4))[0]
    if room < 0:
        raise Fail(E.EINVAL)
    value = socket.get_option(task, s32(level), s32(option), room)[:room]
    task.process.kernel.put(task, pointer, value)
    task.process.kernel.put(task, size_at, struct.pack("=i", len(value)))
    return 0


class _Sending:
    """A message that is being sent: read once, sent over as many turns as it takes."""

    __slots__ = ("address", "control", "data", "done", "total")

    def __init__(self, data: bytes, address: bytes, control: Control | None) -> None:
        self.data = data
        self.address = address
        self.control = control
        self.done = 0
        self.total = len(data)


def _send(task: Task, socket: Socket, flags: int, sending: _Sending) -> int:
    """Send all of a blocking stream's data; one message otherwise."""
    task.state = sending
    try:
        while True:
            put = socket.send(task, sending.data, flags, sending.address, sending.control)
            sending.control = None
            sending.done += put
            sending.data = sending.data[put:]
            if not sending.data or not socket.streams:
                return sending.done
            if flags & MSG_DONTWAIT or socket.flags & O_NONBLOCK:
                return sending.done
    except Block as block:
        block.done = sending.done
        raise
    except (Fail, OSError) as failure:
        if failure.errno == E.EPIPE and not flags & MSG_NOSIGNAL and socket.kind != SOCK_DGRAM:
            task.process.kernel.signals.send_thread(task, SIGPIPE)
        if sending.control is not None:
            for file in sending.control.files:
                file.drop()
        if sending.done:
            return sending.done
        raise


def sys_sendto(task: Task, fd: int, pointer: int, size: int, flags: int, address: int, length: int) -> int:
    socket = _socket(task, fd)
    if not isinstance(task.state, _Sending):
        data = _sys.vm_read(task.tid, pointer, min(size, CHUNK)) if size else b""
        where = _address(task, address, length) if address else b""
        return _send(task, socket, flags, _Sending(data, where, None))
    return _send(task, socket, flags, task.state)


def sys_sendmsg(task: Task, fd: int, pointer: int, flags: int, *_: int) -> int:
    socket = _socket(task, fd)
    if not isinstance(task.state, _Sending):
        return _send(task, socket, flags, _read_message(task, pointer))
    return _send(task, socket, flags, task.state)


def _read_message(task: Task, pointer: int) -> _Sending:
    name, name_size, iov, count, control, control_size, _flags = MSGHDR.unpack(
        _sys.vm_read(task.tid, pointer, MSGHDR.size)
    )
    if count > 1024:
        raise Fail(E.EMSGSIZE)
    address = _address(task, name, name_size) if name else b""
    data = gather(task, iov, count)
    extra = _read_control(task, control, control_size) if control and control_size else None
    return _Sending(data, address, extra)


def _read_control(task: Task, pointer: int, size: int) -> Control:
    if size > CONTROL_LIMIT:
        raise Fail(E.ENOBUFS)
    blob, at, control = _sys.vm_read(task.tid, pointer, size), 0, Control()
    try:
        while at + CMSG.size <= len(blob):
            length, level, kind = CMSG.unpack_from(blob, at)
            if length < CMSG.size or at + length > len(blob):
                raise Fail(E.EINVAL)
            body = blob[at + CMSG.size : at + length]
            _take_control(task, control, level, kind, body)
            at += (length + 7) & ~7
    except BaseException:
        for file in control.files:
            file.drop()
        raise
    return control


def _take_control(task: Task, control: Control, level: int, kind: int, body: bytes) -> None:
    if level != SOL_SOCKET:
        control.raw.append((level, kind, body))
        return
    if kind == SCM_RIGHTS:
        numbers = struct.unpack(f"={len(body) // 4}i", body[: len(body) & ~3])
        if len(control.files) + len(numbers) > FILES_LIMIT:
            raise Fail(E.EINVAL)
        for number in numbers:
            file = task.file(number)
            file.hold()
            control.files.append(file)
    elif kind == SCM_CREDENTIALS:
        if len(body) < 12:
            raise Fail(E.EINVAL)
        pid, uid, gid = struct.unpack_from("=iII", body)
        cred = task.process.cred
        if pid != task.process.pid and not cred.capable(CAP_SYS_ADMIN):
            raise Fail(E.EPERM)
        if uid not in (cred.uid, cred.euid, cred.suid) and not cred.capable(CAP_SETUID):
            raise Fail(E.EPERM)
        if gid not in (cred.gid, cred.egid, cred.sgid) and not cred.capable(CAP_SETGID):
            raise Fail(E.EPERM)
        control.credentials = (pid, uid, gid)
    else:
        raise Fail(E.EINVAL)


def sys_recvfrom(
    task: Task, fd: int, pointer: int, size: int, flags: int, address: int, length_at: int
) -> int:
    received = _socket(task, fd).receive(task, min(size, CHUNK), flags)
    for file in received.control.files:
        file.drop()
    if received.data:
        task.process.kernel.put(task, pointer, received.data)
    if address:
        _give_address(task, address, length_at, received.address)
    return received.size if flags & MSG_TRUNC else len(received.data)


def sys_recvmsg(task: Task, fd: int, pointer: int, flags: int, *_: int) -> int:
    return _receive_message(task, _socket(task, fd), pointer, flags)


def _receive_message(task: Task, socket: Socket, pointer: int, flags: int) -> int:
    name, name_size, iov, count, control, control_size, _flags = MSGHDR.unpack(
        _sys.vm_read(task.tid, pointer, MSGHDR.size)
    )
    if count > 1024:
        raise Fail(E.EMSGSIZE)
    pairs = vectors(task, iov, count)
    received = socket.receive(task, min(sum(length for _, length in pairs), CHUNK), flags)
    scatter(task, pairs, received.data)
    put = task.process.kernel.put
    if name:
        if received.address:
            put(task, name, received.address[: min(name_size, ADDRESS_LIMIT)])
        put(task, pointer + 8, struct.pack("=I", len(received.address)))
    used, cut = _give_control(task, socket, received, control, control_size, flags)
    put(task, pointer + 40, struct.pack("=Q", used))
    told = received.flags | cut | (flags & MSG_CMSG_CLOEXEC)
    put(task, pointer + 48, struct.pack("=I", told))
    return received.size if flags & MSG_TRUNC else len(received.data)


def _give_control(
    task: Task, socket: Socket, received: Received, pointer: int, size: int, flags: int
) -> tuple[int, int]:
    """Write the control messages that fit; how much was used, and MSG_CTRUNC if some did not."""
    room, out, cut = size if pointer else 0, bytearray(), 0
    control = received.control
    items = list(control.raw)
    if getattr(socket, "pass_credentials", False):
        items.append(
            (SOL_SOCKET, SCM_CREDENTIALS, struct.pack("=iII", *(control.credentials or (0, 65534, 65534))))
        )
    for level, kind, body in items:
        if len(out) + CMSG.size + len(body) > room:
            cut = MSG_CTRUNC
            continue
        out += CMSG.pack(CMSG.size + len(body), level, kind) + body
        out += b"\0" * (-len(out) % 8)
    if control.files:
        numbers: list[int] = []
        for file in control.files:
            if len(out) + CMSG.size + 4 * (len(numbers) + 1) <= room:
                try:
                    numbers.append(task.install(file, cloexec=bool(flags & MSG_CMSG_CLOEXEC)))
                except Fail:
                    cut = MSG_CTRUNC
            else:
                cut = MSG_CTRUNC
            file.drop()
        if numbers:
            body = struct.pack(f"={len(numbers)}i", *numbers)
            out += CMSG.pack(CMSG.size + len(body), SOL_SOCKET, SCM_RIGHTS) + body
            if len(out) + (-len(out) % 8) <= room:
                out += b"\0" * (-len(out) % 8)
    if out:
        task.process.kernel.put(task, pointer, bytes(out))
    return len(out), cut


def sys_sendmmsg(task: Task, fd: int, pointer: int, count: int, flags: int, *_: int) -> int:
    socket, done = _socket(task, fd), 0
    for index in range(min(count, 1024)):
        at = pointer + 64 * index
        try:
            sent = _send(task, socket, flags | MSG_DONTWAIT * bool(done), _read_message(task, at))
        except (Block, Fail, OSError):
            task.state = None
            if done:
                return done
            raise
        task.state = None
        task.process.kernel.put(task, at + 56, struct.pack("=I", sent))
        done += 1
    return done


def sys_recvmmsg(task: Task, fd: int, pointer: int, count: int, flags: int, timeout: int, *_: int) -> int:
    socket, done = _socket(task, fd), 0
    for index in range(min(count, 1024)):
        at = pointer + 64 * index
        try:
            wait = MSG_DONTWAIT if done else 0
            got = _receive_message(task, socket, at, flags & ~MSG_WAITFORONE | wait)
        except (Block, Fail, OSError):
            if done:
                return done
            raise
        task.process.kernel.put(task, at + 56, struct.pack("=I", got))
        done += 1
    return done
