"""Netlink sockets: requests packed with struct, sent in one batch, answered with the kernel's own words.

https://docs.kernel.org/userspace-api/netlink/intro.html, netlink(7). Numbers are in the host's order
unless an attribute says otherwise. docs/adr/0601-own-netlink.md tells why this is not a library.
"""

from __future__ import annotations

import _socket
import errno
import os
import struct

from trimaran.errors import KernelError
from trimaran.linux import _sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

AF_NETLINK = 16
NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 270, 10, 11
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33

NLM_F_REQUEST, NLM_F_ACK = 0x1, 0x4
NLM_F_DUMP = 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
_NLM_F_ACK_TLVS = 0x200

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLMSGERR_ATTR_MSG = 1
NLA_F_NESTED = 0x8000
_NLA_TYPE_MASK = 0x3FFF

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_U32 = struct.Struct("=I")
_ERROR = struct.Struct("=i")
# The kernel builds dumps in pieces of at most 32 KiB; an error echoes at most the request's header.
_RECEIVE = 1 << 16
# A batch of some thousand set elements is longer than a socket's usual 208 KiB.
_BUFFER = 1 << 22


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four bytes. ValueError if the payload is longer than 65,531 bytes."""
    size = len(payload) + 4
    if size > 0xFFFF:
        raise ValueError(f"a netlink attribute of {size} bytes")
    return _ATTRIBUTE.pack(size, kind) + payload + bytes(-size % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def string(kind: int, text: str) -> bytes:
    """An attribute that holds a string, ended by NUL."""
    return attribute(kind, text.encode() + b"\0")


def u32(kind: int, value: int) -> bytes:
    """An attribute that holds a 32-bit number in the host's order."""
    return attribute(kind, _U32.pack(value))


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes in ``data`` by kind; of a repeated kind the last. ValueError if cut short."""
    return dict(attribute_list(data))


def attribute_list(data: bytes) -> list[tuple[int, bytes]]:
    """The attributes in ``data`` in their order. ValueError if one is cut short."""
    found = []
    offset = 0
    while offset + 4 <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, offset)
        if size < 4 or offset + size > len(data):
            raise ValueError("a netlink attribute is cut short")
        found.append((kind & _NLA_TYPE_MASK, data[offset + 4 : offset + size]))
        offset += size + (-size % 4)
    return found


class Request:
    """One message to the kernel. ``what`` names it in errors, such as ``add address 10.1.0.2/24``."""

    __slots__ = ("flags", "kind", "payload", "what")

    def __init__(self, kind: int, flags: int, payload: bytes, what: str) -> None:
        self.kind = kind
        self.flags = flags
        self.payload = payload
        self.what = what

    def pack(self, sequence: int, extra_flags: int = 0) -> bytes:
        size = len(self.payload) + 16
        flags = self.flags | NLM_F_REQUEST | extra_flags
        header = _HEADER.pack(size, self.kind, flags, sequence, 0)
        return header + self.payload + bytes(-size % 4)


class Netlink:
    """A socket to one part of the kernel, in this network namespace or in the one behind ``netns``."""

    def __init__(self, protocol: int = NETLINK_ROUTE, netns: int | None = None) -> None:
        kind = _socket.SOCK_RAW | _socket.SOCK_CLOEXEC
        if netns is None:
            self._socket = _socket.socket(AF_NETLINK, kind, protocol)
        else:
            fd = _sys.socket_in_netns(netns, AF_NETLINK, kind, protocol)
            self._socket = _socket.socket(AF_NETLINK, kind, protocol, fileno=fd)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        self._sequence = 0

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def subscribe(self, group: int) -> None:
        """Receive the kernel's announcements to a multicast group, which :meth:`announced` drains."""
        # Without an address of its own a socket is left out.
        self._socket.bind((0, 0))
        self._socket.setsockopt(_SOL_NETLINK, 1, group)

    def fileno(self) -> int:
        return self._socket.fileno()

    def announced(self) -> list[int]:
        """The message types that have come in by subscription; empty if some were lost (ENOBUFS)."""
        try:
            data = self._socket.recv(_RECEIVE, _socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            return []
        return [kind for kind, _, _, _ in _messages(data)]

    def send(self, *requests: Request) -> None:
        """Carry out requests in order. Raises :class:`KernelError` for the first that failed.

        The kernel goes on after a failure; the caller undoes what it wants undone.
        """
        if not requests:
            return
        first = self._sequence + 1
        data = b"".join(request.pack(first + i, NLM_F_ACK) for i, request in enumerate(requests))
        self._sequence += len(requests)
        self._transmit(data)
        failure: KernelError | None = None
        waiting = len(requests)
        while waiting:
            for kind, flags, sequence, payload in self._receive():
                if kind != _NLMSG_ERROR or sequence < first:
                    continue
                waiting -= 1
                failure = failure or _failure(requests[sequence - first].what, flags, payload)
        if failure:
            raise failure

    def transaction(self, begin: Request, requests: Sequence[Request], end: Request) -> None:
        """Carry out all requests or none: an nfnetlink batch. Raises :class:`KernelError`."""
        first = self._sequence + 1
        last = first + len(requests)
        parts = [begin.pack(first)]
        parts += [request.pack(first + 1 + i) for i, request in enumerate(requests[:-1])]
        # One answer suffices: errors are told unasked, before the answer to the last.
        parts += [requests[-1].pack(last, NLM_F_ACK), end.pack(last + 1)]
        self._sequence = last + 1
        self._transmit(b"".join(parts))
        failure: KernelError | None = None
        answered = False
        while not answered:
            for kind, flags, sequence, payload in self._receive():
                if kind == _NLMSG_ERROR and sequence >= first:
                    index = min(max(sequence - first - 1, 0), len(requests) - 1)
                    failure = failure or _failure(requests[index].what, flags, payload)
                    # A batch that is refused as a whole is answered at its first message only.
                    answered = answered or sequence == last or (sequence == first and failure is not None)
        if failure:
            raise failure

    def ask(self, request: Request) -> list[tuple[int, bytes]]:
        """The answers to a query, as (message type, payload). Raises :class:`KernelError`."""
        dump = request.flags & NLM_F_DUMP == NLM_F_DUMP
        self._sequence += 1
        self._transmit(request.pack(self._sequence, 0 if dump else NLM_F_ACK))
        answers: list[tuple[int, bytes]] = []
        while True:
            for kind, flags, sequence, payload in self._receive():
                if sequence != self._sequence:
                    continue
                if kind in (_NLMSG_ERROR, _NLMSG_DONE):
                    failure = _failure(request.what, flags, payload) if len(payload) >= 4 else None
                    if failure:
                        raise failure
                    return answers
                answers.append((kind, payload))

    def _transmit(self, data: bytes) -> None:
        if len(data) > 1 << 17:
            self._socket.setsockopt(_socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER)
        self._socket.send(data)

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        return _messages(self._socket.recv(_RECEIVE))


def _messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    offset = 0
    while offset + 16 <= len(data):
        size, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        if size < 16:
            return
        yield kind, flags, sequence, data[offset + 16 : offset + size]
        offset += size + (-size % 4)


def _failure(what: str, flags: int, payload: bytes) -> KernelError | None:
    """The error that an acknowledgement carries; None if it reports success."""
    (number,) = _ERROR.unpack_from(payload)
    if not number:
        return None
    failure = KernelError("netlink", -number, message=f"cannot {what}")
    if flags & _NLM_F_ACK_TLVS:
        # The echoed header lies between the number and the attributes (NETLINK_CAP_ACK).
        words = attributes(payload[20:]).get(_NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode(errors="replace")
        failure.why = f"{os.strerror(-number)}: {words}" if words else failure.why
    return failure
