"""Local sockets, all within the sandbox (unix(7))."""

from __future__ import annotations

import errno as E
import stat as S
import struct

from trimaran.sandbox.kernel.file import POLLHUP, POLLIN, POLLOUT, POLLRDHUP, POLLRDNORM, POLLWRNORM
from trimaran.sandbox.kernel.outcome import Fail
from trimaran.sandbox.kernel.socket.base import (
    AF_UNIX,
    MSG_PEEK,
    MSG_TRUNC,
    MSG_WAITALL,
    SHUT_RD,
    SHUT_RDWR,
    SHUT_WR,
    SO_ACCEPTCONN,
    SO_ERROR,
    SO_PASSCRED,
    SO_PEERCRED,
    SO_PEERGROUPS,
    SO_RCVBUF,
    SO_RCVTIMEO,
    SO_RCVTIMEO_NEW,
    SO_SNDBUF,
    SO_SNDTIMEO,
    SO_SNDTIMEO_NEW,
    SOCK_DGRAM,
    SOL_SOCKET,
    Control,
    Received,
    Socket,
    family_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.sandbox.kernel.task import Task
    from trimaran.sandbox.kernel.vfs.inode import Inode

BUFFER = 212992
PATH_LIMIT = 108
QUEUE_LIMIT = 128
DATAGRAMS = 64
NOBODY = (0, 0xFFFFFFFF, 0xFFFFFFFF)

abstract: dict[bytes, UnixSocket] = {}
bound: dict[Inode, UnixSocket] = {}
"""Names of this sandbox's sockets: a process runs one sandbox."""


class Message:
    __slots__ = ("address", "control", "data")

    def __init__(self, data: bytes, address: bytes, control: Control) -> None:
        self.data = data
        self.address = address
        self.control = control


class UnixSocket(Socket):
    """``peer`` is the other end, or where a connected datagram socket sends."""

    __slots__ = (
        "backlog",
        "closed",
        "credentials",
        "error",
        "groups",
        "limit",
        "listening",
        "name",
        "node",
        "pass_credentials",
        "peer",
        "peer_credentials",
        "pending",
        "queue",
        "read_shut",
        "size",
        "was_connected",
        "write_shut",
    )

    def __init__(self, task: Task, kind: int, flags: int = 0) -> None:
        super().__init__(AF_UNIX, kind, 0, flags)
        process = task.process
        self.credentials = (process.pid, process.cred.euid, process.cred.egid)
        self.groups = process.cred.groups
        self.peer_credentials = NOBODY
        self.peer: UnixSocket | None = None
        self.queue: list[Message] = []
        self.size = 0
        self.limit = BUFFER
        self.name = b""
        self.node: Inode | None = None
        self.listening = False
        self.pending: list[UnixSocket] = []
        self.backlog = 0
        self.read_shut = self.write_shut = self.closed = self.was_connected = False
        self.pass_credentials = False
        self.error = 0

    def pair(self, other: UnixSocket) -> None:
        """Connect two ends."""
        self.peer, other.peer = other, self
        self.peer_credentials, other.peer_credentials = other.credentials, self.credentials
        self.was_connected = other.was_connected = True

    # Names.

    def own_address(self) -> bytes:
        return struct.pack("=H", AF_UNIX) + self.name

    def peer_address(self) -> bytes:
        if self.peer is None and not self.was_connected:
            raise Fail(E.ENOTCONN)
        return struct.pack("=H", AF_UNIX) + (self.peer.name if self.peer else b"")

    def bind(self, task: Task, address: bytes) -> None:
        if family_of(address) != AF_UNIX or len(address) > 2 + PATH_LIMIT:
            raise Fail(E.EINVAL)
        if self.name:
            raise Fail(E.EINVAL)
        name = address[2:]
        if not name:
            name = self._automatic()
        if name[:1] == b"\0":
            if name in abstract:
                raise Fail(E.EADDRINUSE)
            abstract[name] = self
        else:
            name = name.split(b"\0", 1)[0]
            self._bind_path(task, name)
            name += b"\0"
        self.name = name

    @staticmethod
    def _automatic() -> bytes:
        number = 0
        while b"\0%05x" % number in abstract:
            number += 1
        return b"\0%05x" % number

    def _bind_path(self, task: Task, path: bytes) -> None:
        from trimaran.sandbox.kernel.names import make_entry

        mode = S.S_IFSOCK | 0o777 & ~task.process.fs.umask
        try:
            dentry = make_entry(task, -100, path, lambda parent, new: parent.create(task, new, mode))
        except Fail as failure:
            raise Fail(E.EADDRINUSE if failure.errno == E.EEXIST else failure.errno) from None
        self.node = dentry.inode
        bound[dentry.inode] = self

    def find(self, task: Task, address: bytes) -> UnixSocket:
        """The socket bound to ADDRESS. Raises Fail (ECONNREFUSED, ENOENT, EACCES...)."""
        from trimaran.sandbox.kernel.vfs.walk import WRITE, existing, require

        if family_of(address) != AF_UNIX or len(address) > 2 + PATH_LIMIT or len(address) == 2:
            raise Fail(E.EINVAL)
        name = address[2:]
        if name[:1] == b"\0":
            found = abstract.get(name)
        else:
            inode = existing(task, -100, name.split(b"\0", 1)[0]).inode
            require(task.process.cred, inode, WRITE)
            found = bound.get(inode)
        if found is None or found.closed:
            raise Fail(E.ECONNREFUSED)
        if found.kind != self.kind:
            raise Fail(E.EPROTOTYPE)
        return found

    # Connections.

    def listen(self, task: Task, backlog: int) -> None:
        if self.kind == SOCK_DGRAM:
            raise Fail(E.EOPNOTSUPP)
        if not self.name or self.peer is not None:
            raise Fail(E.EINVAL)
        self.listening = True
        self.backlog = max(1, min(backlog, QUEUE_LIMIT)) + 1
        process = task.process
        self.credentials = (process.pid, process.cred.euid, process.cred.egid)

    def accept(self, task: Task) -> Socket:
        if self.kind == SOCK_DGRAM:
            raise Fail(E.EOPNOTSUPP)
        if not self.listening:
            raise Fail(E.EINVAL)
        if not self.pending:
            if self.read_shut:
                raise Fail(E.EINVAL)
            raise self.wait(task, 0, 0)
        self.waiters.wake()
        return self.pending.pop(0)

    def connect(self, task: Task, address: bytes) -> None:
        if len(address) >= 2 and family_of(address) == 0 and self.kind == SOCK_DGRAM:
            self.peer = None
            return
        if self.listening:
            raise Fail(E.EINVAL)
        target = self.find(task, address)
        if self.kind == SOCK_DGRAM:
            if target.peer is not None and target.peer is not self:
                raise Fail(E.EPERM)
            self.peer = target
            self.was_connected = True
            return
        if self.was_connected:
            raise Fail(E.EISCONN)
        if not target.listening or target.read_shut:
            raise Fail(E.ECONNREFUSED)
        if len(target.pending) >= target.backlog:
            raise self.wait(task, 1, 0, target.waiters)
        process = task.process
        self.credentials = (process.pid, process.cred.euid, process.cred.egid)
        other = UnixSocket(task, self.kind)
        other.credentials, other.name = target.credentials, target.name
        other.pass_credentials = target.pass_credentials
        self.pair(other)
        # Held by the queue until it is accepted.
        other.refs += 1
        target.pending.append(other)
        target.waiters.wake()

    def shutdown(self, task: Task, how: int) -> None:
        if how not in (SHUT_RD, SHUT_WR, SHUT_RDWR):
            raise Fail(E.EINVAL)
        if self.peer is None and not self.listening:
            raise Fail(E.ENOTCONN)
        if how != SHUT_WR:
            self.read_shut = True
        if how != SHUT_RD:
            self.write_shut = True
        self.waiters.wake()
        if self.peer is not None and self.kind != SOCK_DGRAM:
            if how != SHUT_RD:
                self.peer.read_shut = True
            if how != SHUT_WR:
                self.peer.write_shut = True
            self.peer.waiters.wake()

    # Data.

    def send(self, task: Task, data: bytes, flags: int, address: bytes, control: Control | None) -> int:
        target = self._target(task, address)
        if self.write_shut:
            raise Fail(E.EPIPE)
        if target is None or target.closed:
            raise Fail(E.ECONNREFUSED if self.kind == SOCK_DGRAM else E.EPIPE)
        if target.read_shut:
            raise Fail(E.EPIPE)
        control = control or Control()
        if target.pass_credentials and control.credentials is None:
            cred = task.process.cred
            control.credentials = (task.process.pid, cred.uid, cred.gid)
        if self.streams:
            return self._send_stream(task, target, data, flags, control)
        if len(data) > self.limit:
            raise Fail(E.EMSGSIZE)
        if target is not self and (target.size + len(data) > target.limit or len(target.queue) >= DATAGRAMS):
            raise self.wait(task, 1, flags, target.waiters)
        target.put(Message(data, self.own_address() if self.name else b"", control))
        return len(data)

    def _target(self, task: Task, address: bytes) -> UnixSocket | None:
        if self.kind == SOCK_DGRAM:
            if address:
                target = self.find(task, address)
                if target.peer is not None and target.peer is not self:
                    raise Fail(E.EPERM)
                return target
            if self.peer is None:
                raise Fail(E.ENOTCONN)
            return self.peer
        if address and self.streams:
            raise Fail(E.EISCONN if self.peer is not None else E.EOPNOTSUPP)
        if self.peer is None and not self.was_connected:
            raise Fail(E.ENOTCONN)
        return self.peer

    def _send_stream(self, task: Task, target: UnixSocket, data: bytes, flags: int, control: Control) -> int:
        room = target.limit - target.size
        if not data:
            return 0
        if room <= 0:
            raise self.wait(task, 1, flags, target.waiters)
        part = data[:room]
        queue = target.queue
        last = queue[-1].control if queue else None
        if (
            last is not None
            and not last.files
            and not control.files
            and last.credentials == control.credentials
        ):
            if len(queue[-1].data) + len(part) <= 1 << 16:
                queue[-1].data += part
                target.size += len(part)
                target.waiters.wake()
                return len(part)
        target.put(Message(part, b"", control))
        return len(part)

    def put(self, message: Message) -> None:
        self.queue.append(message)
        self.size += len(message.data)
        self.waiters.wake()

    def receive(self, task: Task, size: int, flags: int) -> Received:
        if self.listening:
            raise Fail(E.EINVAL)
        if not self.queue:
            if self.error:
                error, self.error = self.error, 0
                raise Fail(error)
            if self.read_shut or (self.peer is None and self.was_connected and self.kind != SOCK_DGRAM):
                return Received(b"")
            if self.peer is None and self.kind != SOCK_DGRAM:
                raise Fail(E.ENOTCONN if not self.streams else E.EINVAL)
            raise self.wait(task, 0, flags)
        if self.streams:
            return self._receive_stream(task, size, flags)
        message = self.queue[0]
        received = Received(message.data[:size], message.address, message.control)
        received.size = len(message.data)
        if received.size > size:
            received.flags |= MSG_TRUNC
        if flags & MSG_PEEK:
            for file in message.control.files:
                file.hold()
        else:
            self.queue.pop(0)
            self.size -= len(message.data)
            self.waiters.wake()
            if self.peer is not None:
                self.peer.waiters.wake()
        return received

    def _receive_stream(self, task: Task, size: int, flags: int) -> Received:
        if flags & MSG_WAITALL and not flags & MSG_PEEK and self.size < size:
            if not self.read_shut and self.peer is not None and size <= self.limit and not self._has_files():
                raise self.wait(task, 0, flags)
        parts: list[bytes] = []
        control: Control | None = None
        left = size
        for message in list(self.queue):
            if parts and (
                message.control.files
                or message.control.credentials != (control or message.control).credentials
            ):
                break
            if left <= 0 and size:
                break
            part = message.data[:left]
            if control is None:
                control = message.control
            parts.append(part)
            left -= len(part)
            if flags & MSG_PEEK:
                if message.control.files:
                    for file in message.control.files:
                        file.hold()
                    break
                continue
            self.size -= len(part)
            if len(part) == len(message.data):
                self.queue.pop(0)
            else:
                message.data = message.data[len(part) :]
                kept = Control()
                kept.credentials = message.control.credentials
                message.control = kept
            if control.files:
                break
        if not flags & MSG_PEEK:
            self.waiters.wake()
            if self.peer is not None:
                self.peer.waiters.wake()
        return Received(b"".join(parts), b"", control)

    def _has_files(self) -> bool:
        return any(message.control.files for message in self.queue)

    def unread(self, data: bytes) -> None:
        self.queue.insert(0, Message(data, b"", Control()))
        self.size += len(data)

    def poll(self) -> int:
        if self.listening:
            return POLLIN | POLLRDNORM if self.pending else 0
        mask = POLLIN | POLLRDNORM if self.queue or self.read_shut else 0
        if self.kind == SOCK_DGRAM:
            target = self.peer
            if target is None or len(target.queue) < DATAGRAMS:
                mask |= POLLOUT | POLLWRNORM
            return mask
        if self.peer is None:
            return mask | POLLHUP | POLLOUT | (POLLIN | POLLRDHUP | POLLRDNORM if self.was_connected else 0)
        if self.read_shut:
            mask |= POLLRDHUP | (POLLHUP if self.write_shut else 0)
        if self.peer.size < self.peer.limit:
            mask |= POLLOUT | POLLWRNORM
        return mask

    def ioctl(self, task: Task, command: int, argument: int) -> int:
        if command not in (0x541B, 0x5411):
            from trimaran.sandbox.kernel.socket.interfaces import interface_ioctl

            return interface_ioctl(task, command, argument)
        size = self.size if command == 0x541B else 0
        if command == 0x541B and not self.streams:
            size = len(self.queue[0].data) if self.queue else 0
        task.process.kernel.put(task, argument, struct.pack("=i", size))
        return 0

    # Options.

    def get_option(self, task: Task, level: int, option: int, size: int) -> bytes:
        if level != SOL_SOCKET:
            raise Fail(E.EOPNOTSUPP)
        common = self.common_option(option)
        if common is not None:
            return common
        if option == SO_PEERCRED:
            return struct.pack("=iII", *self.peer_credentials)
        if option == SO_PEERGROUPS:
            groups = self.peer.groups if self.peer else ()
            return struct.pack(f"={len(groups)}I", *groups)
        values = {
            SO_ERROR: self.error,
            SO_ACCEPTCONN: int(self.listening),
            SO_PASSCRED: int(self.pass_credentials),
            SO_SNDBUF: self.limit,
            SO_RCVBUF: self.limit,
        }
        if option == SO_ERROR:
            self.error = 0
        if option in (2, 6, 9, 15, 13, 18, 34, 42, 12):
            return struct.pack("=ii", 0, 0) if option == 13 else struct.pack("=i", option == 18)
        if option not in values:
            raise Fail(E.ENOPROTOOPT)
        return struct.pack("=i", values[option])

    def set_option(self, task: Task, level: int, option: int, value: bytes) -> None:
        if level != SOL_SOCKET:
            raise Fail(E.EOPNOTSUPP)
        if option in (SO_RCVTIMEO, SO_SNDTIMEO, SO_RCVTIMEO_NEW, SO_SNDTIMEO_NEW):
            self.set_timeout(option, value)
            return
        if len(value) < 4:
            raise Fail(E.EINVAL)
        number = struct.unpack_from("=i", value)[0]
        if option == SO_PASSCRED:
            self.pass_credentials = bool(number)
        elif option in (SO_SNDBUF, SO_RCVBUF):
            self.limit = max(2304, min(2 * number, 2 * BUFFER))
        elif option not in (2, 6, 9, 12, 13, 15, 18, 29, 34, 42):
            raise Fail(E.ENOPROTOOPT)

    def release(self) -> None:
        self.closed = True
        if self.name[:1] == b"\0":
            abstract.pop(self.name, None)
        if self.node is not None and bound.get(self.node) is self:
            del bound[self.node]
        unread = bool(self.queue)
        for message in self.queue:
            for file in message.control.files:
                file.drop()
        self.queue.clear()
        for waiting in self.pending:
            waiting.drop()
        self.pending.clear()
        peer, self.peer = self.peer, None
        if peer is not None and self.kind != SOCK_DGRAM:
            peer.peer = None
            peer.read_shut = True
            if unread:
                peer.error = E.ECONNRESET
            peer.waiters.wake()
        self.waiters.wake()
