"""Route dumps, which libc and ip ask for (rtnetlink(7)): questions are passed on, changes are refused."""

from __future__ import annotations

import _socket
import errno as E
import os
import select
import struct

from trimaran.sandbox.kernel.file import POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM
from trimaran.sandbox.kernel.outcome import Fail
from trimaran.sandbox.kernel.socket.base import (
    AF_NETLINK,
    MSG_DONTWAIT,
    MSG_PEEK,
    MSG_TRUNC,
    Control,
    Received,
    Socket,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.sandbox.kernel.task import Task

NETLINK_ROUTE = 0
HEADER = struct.Struct("=IHHII")
ADDRESS = struct.Struct("=HHII")
NLMSG_ERROR, NLM_F_ACK = 2, 4
QUESTIONS = frozenset((18, 22, 26, 30, 34, 38, 42, 66, 70, 80, 86, 90, 106))
"""RTM_GETLINK and its like: every fourth number from 18, all without effect."""
LARGEST = 1 << 16


class NetlinkSocket(Socket):
    __slots__ = ("answers", "host", "kernel", "port")

    def __init__(self, task: Task, kind: int, protocol: int, flags: int) -> None:
        if kind not in (2, 3):
            raise Fail(E.ESOCKTNOSUPPORT)
        if protocol != NETLINK_ROUTE:
            raise Fail(E.EPROTONOSUPPORT)
        super().__init__(AF_NETLINK, kind, protocol, flags)
        self.kernel = task.process.kernel
        self.host = _socket.socket(AF_NETLINK, _socket.SOCK_RAW, NETLINK_ROUTE)
        self.host.setblocking(False)
        self.host.bind((0, 0))
        self.answers: list[bytes] = []
        self.port = 0
        events = select.EPOLLIN | select.EPOLLET
        self.kernel.watch(self.host.fileno(), events, lambda mask: self.waiters.wake())

    def bind(self, task: Task, address: bytes) -> None:
        if len(address) < ADDRESS.size:
            raise Fail(E.EINVAL)
        port = ADDRESS.unpack_from(address)[2]
        self.port = port or task.process.pid

    def own_address(self) -> bytes:
        return ADDRESS.pack(AF_NETLINK, 0, self.port, 0)

    def connect(self, task: Task, address: bytes) -> None:
        self.port = self.port or task.process.pid

    def send(self, task: Task, data: bytes, flags: int, address: bytes, control: Control | None) -> int:
        self.port = self.port or task.process.pid
        at = 0
        while at + HEADER.size <= len(data):
            length, kind, flags, sequence, _port = HEADER.unpack_from(data, at)
            if length < HEADER.size or at + length > len(data):
                raise Fail(E.EINVAL)
            message = data[at : at + length]
            if kind in QUESTIONS:
                self.host.send(HEADER.pack(length, kind, flags, sequence, 0) + message[HEADER.size :])
            else:
                error = struct.pack("=i", -E.EPERM) + message[: HEADER.size]
                header = HEADER.pack(HEADER.size + len(error), NLMSG_ERROR, 0, sequence, self.port)
                self.answers.append(header + error)
                self.waiters.wake()
            at += (length + 3) & ~3
        return len(data)

    def receive(self, task: Task, size: int, flags: int) -> Received:
        if not self.answers:
            try:
                self.answers.append(self._readdress(self.host.recv(LARGEST, MSG_DONTWAIT)))
            except BlockingIOError:
                raise self.wait(task, 0, flags) from None
        message = self.answers[0] if flags & MSG_PEEK else self.answers.pop(0)
        received = Received(message[:size], ADDRESS.pack(AF_NETLINK, 0, 0, 0))
        received.size = len(message)
        if len(message) > size:
            received.flags |= MSG_TRUNC
        return received

    def _readdress(self, data: bytes) -> bytes:
        """The answers carry the port of our socket: put the program's there."""
        out, at = bytearray(data), 0
        while at + HEADER.size <= len(out):
            length = struct.unpack_from("=I", out, at)[0]
            struct.pack_into("=I", out, at + 12, self.port)
            if length < HEADER.size:
                break
            at += (length + 3) & ~3
        return bytes(out)

    def get_option(self, task: Task, level: int, option: int, size: int) -> bytes:
        common = self.common_option(option) if level == 1 else None
        return common if common is not None else struct.pack("=i", 0)

    def set_option(self, task: Task, level: int, option: int, value: bytes) -> None:
        if level == 1 and option in (20, 21, 66, 67):
            self.set_timeout(option, value)

    def poll(self) -> int:
        poller = select.poll()
        poller.register(self.host.fileno(), select.POLLIN)
        ready = POLLIN | POLLRDNORM if self.answers or poller.poll(0) else 0
        return ready | POLLOUT | POLLWRNORM

    def release(self) -> None:
        self.kernel.unwatch(self.host.fileno())
        os.close(self.host.detach())
