"""TCP and UDP: sockets of the supervisor's own network namespace, under a policy (ip(7), tcp(7))."""

from __future__ import annotations

import _socket
import errno as E
import os
import select
import struct

from trimaran.sandbox.kernel.file import (
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLPRI,
    POLLRDHUP,
    POLLRDNORM,
    POLLWRNORM,
)
from trimaran.sandbox.kernel.outcome import Fail
from trimaran.sandbox.kernel.socket.base import (
    AF_INET,
    AF_INET6,
    MSG_DONTWAIT,
    MSG_ERRQUEUE,
    MSG_MORE,
    MSG_NOSIGNAL,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    MSG_WAITALL,
    SO_RCVTIMEO,
    SO_RCVTIMEO_NEW,
    SO_SNDTIMEO,
    SO_SNDTIMEO_NEW,
    SOCK_DGRAM,
    SOCK_STREAM,
    SOL_SOCKET,
    Control,
    Received,
    Socket,
    family_of,
)
from trimaran.sandbox.kernel.task import CAP_NET_BIND_SERVICE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.sandbox.kernel.kernel import Kernel
    from trimaran.sandbox.kernel.task import Task

EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLPRI | select.EPOLLRDHUP | select.EPOLLET
IPPROTO_IP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_IPV6, IPPROTO_UDPLITE = 0, 6, 17, 41, 136
SOCKET_OPTIONS = frozenset((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 15, 18, 19, 29, 30, 35, 38, 39, 42, 49))
OPTIONS = {
    SOL_SOCKET: SOCKET_OPTIONS,
    IPPROTO_TCP: frozenset((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 18, 23, 24, 25, 30, 36)),
    IPPROTO_IP: frozenset((1, 2, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 20, 24, 32, 33, 34, 35, 36, 49)),
    IPPROTO_IPV6: frozenset(
        (1, 8, 16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 49, 50, 51, 52, 58, 60, 62, 66, 67, 70, 72)
    ),
    IPPROTO_UDP: frozenset((1,)),
    IPPROTO_UDPLITE: frozenset((10, 11)),
}
"""Options that may be passed on: their values are plain data, and they concern this socket alone."""
SENT = MSG_OOB | MSG_MORE | 4
TAKEN = MSG_OOB | MSG_PEEK | MSG_TRUNC | MSG_ERRQUEUE
CONTROL_SPACE = 512


def parse(family: int, address: bytes) -> tuple[str | int, ...]:
    """A ``struct sockaddr`` as Python has it. Raises Fail (EINVAL, EAFNOSUPPORT)."""
    got = family_of(address)
    if got == AF_INET and family == AF_INET:
        if len(address) < 16:
            raise Fail(E.EINVAL)
        port, host = struct.unpack_from(">H4s", address, 2)
        return _socket.inet_ntop(AF_INET, host), port
    if got == AF_INET6 and family == AF_INET6:
        if len(address) < 24:
            raise Fail(E.EINVAL)
        port, flow, host = struct.unpack_from(">HI16s", address, 2)
        scope = struct.unpack_from("=I", address, 24)[0] if len(address) >= 28 else 0
        return _socket.inet_ntop(AF_INET6, host), port, flow, scope
    raise Fail(E.EAFNOSUPPORT)


def build(family: int, address: object) -> bytes:
    """The opposite of :func:`parse`."""
    if not isinstance(address, tuple):
        return b""
    host = _socket.inet_pton(family, address[0].split("%")[0])
    if family == AF_INET:
        return struct.pack("=H", AF_INET) + struct.pack(">H4s8x", address[1], host)
    return (
        struct.pack("=H", AF_INET6)
        + struct.pack(">HI16s", address[1], address[2], host)
        + struct.pack("=I", address[3])
    )


class InetSocket(Socket):
    __slots__ = ("connecting", "host", "kernel", "shown")

    def __init__(
        self, kernel: Kernel, family: int, kind: int, protocol: int, flags: int, fd: int = -1
    ) -> None:
        super().__init__(family, kind, protocol, flags)
        self.kernel = kernel
        if fd >= 0:
            self.host = _socket.socket(family, kind, protocol, fileno=fd)
        else:
            self.host = _socket.socket(family, kind, protocol)
        self.host.setblocking(False)
        self.connecting = False
        self.shown: bytes = b""
        kernel.watch(self.host.fileno(), EVENTS, lambda events: self.waiters.wake())

    def bind(self, task: Task, address: bytes) -> None:
        where = parse(self.family, address)
        port = int(where[1])
        if 0 < port < 1024 and not task.process.cred.capable(CAP_NET_BIND_SERVICE):
            raise Fail(E.EACCES)
        self.kernel.network.check_bind(task, self, where)
        self.host.bind(where)

    def listen(self, task: Task, backlog: int) -> None:
        self.host.listen(backlog if backlog < 1 << 31 else 0)

    def accept(self, task: Task) -> Socket:
        try:
            fd, _address = self.host._accept()  # type: ignore[attr-defined]
        except BlockingIOError:
            raise self.wait(task, 0, 0) from None
        return InetSocket(self.kernel, self.family, self.kind, self.protocol, 0, fd)

    def connect(self, task: Task, address: bytes) -> None:
        if len(address) >= 2 and family_of(address) == 0:
            self._disconnect()
            return
        if self.connecting and task.state is not None:
            self._finish(task)
            return
        where = parse(self.family, address)
        where = self.kernel.network.check_connect(task, self, where)
        error = self.host.connect_ex(where)
        if error == E.EINPROGRESS:
            self.connecting = True
            stop = self.wait(task, 1, 0)
            if isinstance(stop, Fail):
                raise Fail(E.EINPROGRESS)
            if task.state is None:
                task.state = True
            raise stop
        if error:
            raise Fail(error)

    def _disconnect(self) -> None:
        self.host.connect_ex(("0.0.0.0", 0) if self.family == AF_INET else ("::", 0))

    def _finish(self, task: Task) -> None:
        """A blocking connect goes on: the outcome, once there is one."""
        error = self.host.getsockopt(SOL_SOCKET, 4)
        if error:
            self.connecting = False
            raise Fail(error)
        if not self.poll() & (POLLOUT | POLLHUP | POLLERR):
            raise self.wait(task, 1, 0)
        self.connecting = False

    def send(self, task: Task, data: bytes, flags: int, address: bytes, control: Control | None) -> int:
        passed = flags & SENT | MSG_NOSIGNAL | MSG_DONTWAIT
        ancillary = [item for item in control.raw if item[0] in (IPPROTO_IP, IPPROTO_IPV6)] if control else []
        try:
            if address and self.kind != SOCK_STREAM:
                where = self.kernel.network.check_connect(task, self, parse(self.family, address))
                done = self.host.sendmsg([data], ancillary, passed, where)
            else:
                done = self.host.sendmsg([data], ancillary, passed)
        except BlockingIOError:
            raise self.wait(task, 1, flags) from None
        self.kernel.network.sent(done)
        return done

    def receive(self, task: Task, size: int, flags: int) -> Received:
        passed = flags & TAKEN | MSG_DONTWAIT
        if flags & MSG_WAITALL and self.streams and not flags & MSG_PEEK:
            self._wait_for_all(task, size, flags)
        try:
            data, ancillary, told, address = self.host.recvmsg(size, CONTROL_SPACE, passed & ~MSG_TRUNC)
        except BlockingIOError:
            raise self.wait(task, 0, flags) from None
        received = Received(data)
        if self.kind == SOCK_DGRAM:
            received.address = build(self.family, address)
        received.control.raw = ancillary
        received.flags = told & ~MSG_DONTWAIT
        self.kernel.network.received(len(data))
        return received

    def _wait_for_all(self, task: Task, size: int, flags: int) -> None:
        try:
            there = len(self.host.recv(size, MSG_PEEK | MSG_DONTWAIT))
        except BlockingIOError:
            there = -1
        if there == -1 or (0 < there < size and not self.poll() & (POLLRDHUP | POLLHUP | POLLERR)):
            stop = self.wait(task, 0, flags)
            if there < 0 or not isinstance(stop, Fail):
                raise stop

    def shutdown(self, task: Task, how: int) -> None:
        if how > 2:
            raise Fail(E.EINVAL)
        self.host.shutdown(how)

    def own_address(self) -> bytes:
        return build(self.family, self.host.getsockname())

    def peer_address(self) -> bytes:
        return build(self.family, self.host.getpeername())

    def get_option(self, task: Task, level: int, option: int, size: int) -> bytes:
        if level == SOL_SOCKET:
            common = self.common_option(option)
            if common is not None:
                return common
        if option not in OPTIONS.get(level, ()):
            raise Fail(E.ENOPROTOOPT)
        return self.host.getsockopt(level, option, min(size, 256))

    def set_option(self, task: Task, level: int, option: int, value: bytes) -> None:
        if level == SOL_SOCKET and option in (SO_RCVTIMEO, SO_SNDTIMEO, SO_RCVTIMEO_NEW, SO_SNDTIMEO_NEW):
            self.set_timeout(option, value)
            return
        if option not in OPTIONS.get(level, ()):
            raise Fail(E.ENOPROTOOPT)
        self.host.setsockopt(level, option, value)

    def poll(self) -> int:
        poller = select.poll()
        poller.register(
            self.host.fileno(), select.POLLIN | select.POLLOUT | select.POLLPRI | select.POLLRDHUP
        )
        found = poller.poll(0)
        if not found:
            return 0
        mask = found[0][1]
        if mask & POLLIN:
            mask |= POLLRDNORM
        if mask & POLLOUT:
            mask |= POLLWRNORM
        return mask & (POLLIN | POLLOUT | POLLPRI | POLLERR | POLLHUP | POLLRDHUP | POLLRDNORM | POLLWRNORM)

    def ioctl(self, task: Task, command: int, argument: int) -> int:
        if command in (0x541B, 0x5411, 0x8905):
            import fcntl

            value = fcntl.ioctl(self.host.fileno(), command, b"\0\0\0\0")
            task.process.kernel.put(task, argument, value)
            return 0
        from trimaran.sandbox.kernel.socket.interfaces import interface_ioctl

        return interface_ioctl(task, command, argument)

    def release(self) -> None:
        self.kernel.unwatch(self.host.fileno())
        os.close(self.host.detach())
