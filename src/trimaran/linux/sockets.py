"""Unix sockets for the start path, without the ``socket`` module, which is dear to import."""

from __future__ import annotations

import os
from _socket import (
    AF_UNIX,
    MSG_CMSG_CLOEXEC,
    SCM_RIGHTS,
    SO_RCVTIMEO,
    SOCK_CLOEXEC,
    SOCK_SEQPACKET,
    SOL_SOCKET,
)
from _socket import socket as _Socket

MAX_PACKET = 4096


class Packets:
    """One end of a SOCK_SEQPACKET connection (unix(7)): whole messages, and descriptors with them."""

    __slots__ = ("_socket",)

    def __init__(self, descriptor: int) -> None:
        self._socket = _Socket(AF_UNIX, SOCK_SEQPACKET, 0, descriptor)

    def fileno(self) -> int:
        """Its descriptor; still owned here."""
        return self._socket.fileno()

    def send(self, text: bytes, fds: tuple[int, ...] = ()) -> None:
        """Send one message, with descriptors. Raises OSError."""
        if not fds:
            self._socket.send(text)
            return
        packed = b"".join(fd.to_bytes(4, "little", signed=True) for fd in fds)
        self._socket.sendmsg([text], [(SOL_SOCKET, SCM_RIGHTS, packed)])

    def receive(self) -> tuple[bytes, list[int]]:
        """The next message and the descriptors that came with it; empty at the end. Raises OSError."""
        text, ancillary, _, _ = self._socket.recvmsg(MAX_PACKET, 256, MSG_CMSG_CLOEXEC)
        fds = []
        for level, kind, data in ancillary:
            if level == SOL_SOCKET and kind == SCM_RIGHTS:
                fds += [
                    int.from_bytes(data[i : i + 4], "little", signed=True) for i in range(0, len(data) - 3, 4)
                ]
        return text, fds

    def limit(self, seconds: float) -> None:
        """From now on, a receive that waits longer raises OSError with EAGAIN."""
        whole = int(seconds)
        micro = int((seconds - whole) * 1_000_000)
        self._socket.setsockopt(
            SOL_SOCKET, SO_RCVTIMEO, whole.to_bytes(8, "little") + micro.to_bytes(8, "little")
        )

    def close(self) -> None:
        """Close it; further calls do nothing."""
        self._socket.close()


def packet_pair() -> tuple[Packets, Packets]:
    """Two connected ends."""
    from _socket import socketpair

    first, second = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    return Packets(first.detach()), Packets(second.detach())


def _name(directory: int, name: str) -> str:
    # A socket's path has at most 107 bytes: one through a descriptor always fits.
    return f"/proc/self/fd/{directory}/{name}"


def listen(directory: int, name: str) -> int:
    """A listening SOCK_SEQPACKET socket, mode 0600, in a directory; its descriptor."""
    listener = _Socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    mask = os.umask(0o177)
    try:
        listener.bind(_name(directory, name))
    finally:
        os.umask(mask)
    listener.listen(1)
    return listener.detach()


def connect(directory: int, name: str) -> Packets:
    """A connection to such a socket. Raises OSError."""
    connection = _Socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    connection.connect(_name(directory, name))
    return Packets(connection.detach())


def send_descriptor(path: str, text: bytes, fd: int) -> None:
    """Hand a descriptor to whoever listens on a stream socket, as for a console. Raises OSError."""
    from _socket import SOCK_STREAM

    connection = _Socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        connection.connect(path)
        connection.sendmsg([text], [(SOL_SOCKET, SCM_RIGHTS, fd.to_bytes(4, "little", signed=True))])
    finally:
        connection.close()
