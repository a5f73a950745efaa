"""Questions over TCP: each message with its length before it (RFC 1035, 4.2.2; RFC 7766)."""

from __future__ import annotations

import socket
from collections.abc import Callable

from trimaran.network.dns import message

IDLE_SECONDS = 10.0
SERVER_SECONDS = 3.0
LIMIT = 65535

Resolve = Callable[[bytes, str, str, int], bytes | tuple[message.Query, tuple[str, ...]] | None]


def serve_tcp(client: socket.socket, resolve: Resolve) -> None:
    """Answer one client until it has no more questions, or falls silent."""
    client.settimeout(IDLE_SECONDS)
    gateway, source = client.getsockname()[0], client.getpeername()[0]
    try:
        while (data := receive(client)) is not None:
            reply = resolve(data, gateway, source, LIMIT)
            if isinstance(reply, tuple):
                query, servers = reply
                reply = _ask(servers, data) or message.refusal(query, message.SERVFAIL)
            if reply is None:
                return
            client.sendall(len(reply).to_bytes(2, "big") + reply)
    except OSError:
        # It is gone, or too slow.
        return


def receive(stream: socket.socket) -> bytes | None:
    """One message; None at the end of the stream. Raises OSError, TimeoutError."""
    size = _exactly(stream, 2)
    return _exactly(stream, int.from_bytes(size, "big")) if size else None


def _exactly(stream: socket.socket, count: int) -> bytes | None:
    data = b""
    while len(data) < count:
        piece = stream.recv(count - len(data))
        if not piece:
            return None
        data += piece
    return data


def _ask(servers: tuple[str, ...], data: bytes) -> bytes | None:
    for server in servers:
        try:
            with socket.create_connection((server, 53), SERVER_SECONDS) as stream:
                stream.sendall(len(data).to_bytes(2, "big") + data)
                reply = receive(stream)
        except OSError:
            continue
        if reply is not None and reply[:2] == data[:2]:
            return reply
    return None
