"""What every socket can be asked (socket(7)); families override what they do."""

from __future__ import annotations

import errno as E
import struct
import time

from trimaran.sandbox.kernel.anonymous import SOCKETS
from trimaran.sandbox.kernel.file import CHUNK, O_NONBLOCK, O_RDWR, File
from trimaran.sandbox.kernel.outcome import Block, Fail
from trimaran.sandbox.kernel.vfs.inode import Inode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.sandbox.kernel.task import Task
    from trimaran.sandbox.kernel.waiting import WaitQueue

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET = 1, 2, 3, 5
MSG_OOB, MSG_PEEK, MSG_CTRUNC, MSG_TRUNC, MSG_DONTWAIT, MSG_EOR, MSG_WAITALL = (
    1,
    2,
    8,
    0x20,
    0x40,
    0x80,
    0x100,
)
MSG_ERRQUEUE, MSG_NOSIGNAL, MSG_MORE, MSG_WAITFORONE, MSG_CMSG_CLOEXEC = (
    0x2000,
    0x4000,
    0x8000,
    0x10000,
    1 << 30,
)
SOL_SOCKET = 1
SO_REUSEADDR, SO_TYPE, SO_ERROR, SO_BROADCAST, SO_SNDBUF, SO_RCVBUF, SO_KEEPALIVE = 2, 3, 4, 6, 7, 8, 9
SO_LINGER, SO_REUSEPORT, SO_PASSCRED, SO_PEERCRED, SO_RCVLOWAT = 13, 15, 16, 17, 18
SO_RCVTIMEO, SO_SNDTIMEO, SO_TIMESTAMP, SO_ACCEPTCONN, SO_PEERSEC, SO_PASSSEC = 20, 21, 29, 30, 31, 34
SO_PROTOCOL, SO_DOMAIN, SO_PEERGROUPS, SO_PEERPIDFD = 38, 39, 59, 77
SO_RCVTIMEO_NEW, SO_SNDTIMEO_NEW = 66, 67
SHUT_RD, SHUT_WR, SHUT_RDWR = 0, 1, 2


class Control:
    """What comes beside the data: files, credentials (pid, uid, gid), and raw (level, type, bytes)."""

    __slots__ = ("credentials", "files", "raw")

    def __init__(self) -> None:
        self.files: list[File] = []
        self.credentials: tuple[int, int, int] | None = None
        self.raw: list[tuple[int, int, bytes]] = []


class Received:
    """One message or piece of a stream. ``size`` is the length before truncation."""

    __slots__ = ("address", "control", "data", "flags", "size")

    def __init__(self, data: bytes, address: bytes = b"", control: Control | None = None) -> None:
        self.data = data
        self.address = address
        self.control = control or Control()
        self.flags = 0
        self.size = len(data)


class Socket(File):
    """``timeouts`` are SO_RCVTIMEO and SO_SNDTIMEO in nanoseconds, 0 for none."""

    __slots__ = ("family", "kind", "protocol", "timeouts")

    def __init__(self, family: int, kind: int, protocol: int, flags: int = 0) -> None:
        super().__init__(O_RDWR | flags, Inode(SOCKETS, 0o140777))
        self.family = family
        self.kind = kind
        self.protocol = protocol
        self.timeouts = [0, 0]

    @property
    def streams(self) -> bool:
        return self.kind == SOCK_STREAM

    def bind(self, task: Task, address: bytes) -> None:
        raise Fail(E.EOPNOTSUPP)

    def listen(self, task: Task, backlog: int) -> None:
        raise Fail(E.EOPNOTSUPP)

    def accept(self, task: Task) -> Socket:
        raise Fail(E.EOPNOTSUPP)

    def connect(self, task: Task, address: bytes) -> None:
        raise Fail(E.EOPNOTSUPP)

    def send(self, task: Task, data: bytes, flags: int, address: bytes, control: Control | None) -> int:
        raise Fail(E.EOPNOTSUPP)

    def receive(self, task: Task, size: int, flags: int) -> Received:
        raise Fail(E.EOPNOTSUPP)

    def shutdown(self, task: Task, how: int) -> None:
        raise Fail(E.EOPNOTSUPP)

    def own_address(self) -> bytes:
        raise Fail(E.EOPNOTSUPP)

    def peer_address(self) -> bytes:
        raise Fail(E.ENOTCONN)

    def get_option(self, task: Task, level: int, option: int, size: int) -> bytes:
        raise Fail(E.ENOPROTOOPT)

    def set_option(self, task: Task, level: int, option: int, value: bytes) -> None:
        raise Fail(E.ENOPROTOOPT)

    def wait(self, task: Task, direction: int, flags: int, *queues: WaitQueue) -> Exception:
        """What to raise when the socket is not ready: DIRECTION is 0 to receive, 1 to send."""
        if self.flags & O_NONBLOCK or flags & MSG_DONTWAIT:
            return Fail(E.EAGAIN)
        limit = self.timeouts[direction]
        if not limit:
            return Block(queues or (self.waiters,))
        started = task.process.kernel.waiting_since(task)
        if time.monotonic_ns() >= started + limit:
            return Fail(E.EAGAIN)
        return Block(queues or (self.waiters,), started + limit)

    def common_option(self, option: int) -> bytes | None:
        """Options of SOL_SOCKET that every family answers alike."""
        if option == SO_TYPE:
            return struct.pack("=i", self.kind)
        if option == SO_DOMAIN:
            return struct.pack("=i", self.family)
        if option == SO_PROTOCOL:
            return struct.pack("=i", self.protocol)
        if option in (SO_RCVTIMEO, SO_SNDTIMEO, SO_RCVTIMEO_NEW, SO_SNDTIMEO_NEW):
            limit = self.timeouts[option in (SO_SNDTIMEO, SO_SNDTIMEO_NEW)]
            return struct.pack("=qq", limit // 10**9, limit % 10**9 // 1000)
        return None

    def set_timeout(self, option: int, value: bytes) -> None:
        if len(value) < 16:
            raise Fail(E.EINVAL)
        seconds, micro = struct.unpack_from("=qq", value)
        if not 0 <= micro < 10**6:
            raise Fail(E.EDOM)
        self.timeouts[option in (SO_SNDTIMEO, SO_SNDTIMEO_NEW)] = max(0, seconds * 10**9 + micro * 1000)

    def read(self, task: Task, size: int) -> bytes:
        received = self.receive(task, min(size, CHUNK), 0)
        for file in received.control.files:
            file.drop()
        return received.data

    def write(self, task: Task, data: bytes) -> int:
        return self.send(task, data, 0, b"", None)

    def describe(self) -> bytes:
        return b"socket:[%d]" % self.inode.ino


def family_of(address: bytes) -> int:
    """The family of a ``struct sockaddr``. Raises Fail(EINVAL) if it is too short."""
    if len(address) < 2:
        raise Fail(E.EINVAL)
    return int(struct.unpack_from("=H", address)[0])
