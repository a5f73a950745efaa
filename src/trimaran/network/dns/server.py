"""The resolver's loop: questions in, answers out, and forwarding over UDP. TCP has a thread a client."""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
from collections.abc import Callable

from trimaran.network.dns import message
from trimaran.network.dns.names import TTL, Asker, HostServers, asker, local_records
from trimaran.network.dns.tcp import serve_tcp
from trimaran.network.store import pack
from trimaran.state import Database

FORWARD_SECONDS = 1.5
FORWARD_TRIES = 4
FORWARD_AT_ONCE = 1024
TCP_AT_ONCE = 32

Address = tuple[str, int]


class _Forwarded:
    """A question that waits for a server's answer."""

    __slots__ = ("client", "data", "deadline", "id", "query", "reply_to", "servers", "socket", "tries")

    def __init__(
        self,
        reply_to: socket.socket,
        client: Address,
        query: message.Query,
        data: bytes,
        servers: tuple[str, ...],
    ) -> None:
        self.reply_to = reply_to
        self.client = client
        self.query = query
        self.data = data
        self.servers = servers
        self.tries = 0
        self.socket: socket.socket | None = None
        self.id = 0
        self.deadline = 0.0


class Resolver:
    """Answers on any number of sockets. ``database`` says who is who, ``host`` where the rest is known."""

    def __init__(self, database: Database, host: HostServers) -> None:
        self._database = database
        self._host = host
        self._selector = selectors.DefaultSelector()
        self._waiting: set[_Forwarded] = set()
        self._tcp_clients = threading.BoundedSemaphore(TCP_AT_ONCE)

    def watch(self, source: int | socket.socket, ready: Callable[[], None]) -> None:
        """Have ``ready`` called whenever the descriptor can be read."""
        self._selector.register(source, selectors.EVENT_READ, ready)

    def add(self, listening: socket.socket) -> None:
        """Answer on a bound UDP socket, or a listening TCP socket."""
        listening.setblocking(False)
        tcp = listening.type == socket.SOCK_STREAM
        ready = self._accept if tcp else self._question
        self.watch(listening, lambda: ready(listening))

    def remove(self, listening: socket.socket) -> None:
        """Answer no more on a socket, and close it."""
        self._selector.unregister(listening)
        listening.close()

    def step(self, seconds: float) -> None:
        """Do what there is to do; wait at most that long for it."""
        deadlines = [forwarded.deadline for forwarded in self._waiting]
        wait = min([seconds, *(deadline - time.monotonic() for deadline in deadlines)])
        for key, _ in self._selector.select(max(wait, 0)):
            key.data()
        now = time.monotonic()
        for forwarded in [f for f in self._waiting if f.deadline <= now]:
            self._try(forwarded)

    def _question(self, listening: socket.socket) -> None:
        # A bounded number at a time, so that one client's flood leaves room for the others' sockets.
        for _ in range(64):
            try:
                data, client = listening.recvfrom(4096)
            except (BlockingIOError, ConnectionRefusedError):
                return
            reply = self.resolve(data, listening.getsockname()[0], client[0], message.UDP_LIMIT)
            if isinstance(reply, bytes):
                _send(listening, reply, client)
            elif reply is not None:
                query, servers = reply
                self._forward(_Forwarded(listening, client, query, data, servers))

    def resolve(
        self, data: bytes, gateway: str, source: str, limit: int
    ) -> bytes | tuple[message.Query, tuple[str, ...]] | None:
        """The answer; or the question and the servers to ask; or None where silence is the answer."""
        try:
            query = message.Query(data)
        except message.Malformed as error:
            return message.malformed_answer(data) if error.answerable else None
        connection = self._database.connection()
        who = asker(connection, pack(gateway.partition("%")[0]), pack(source.partition("%")[0]))
        if who is None:
            return message.refusal(query, message.REFUSED)
        if query.opcode != 0:
            return message.refusal(query, message.NOTIMP)
        records = local_records(connection, who, query) if query.qclass == message.IN else None
        if records is not None:
            return message.answer(query, records, ttl=TTL, limit=limit)
        return self._beyond(query, who)

    def _beyond(self, query: message.Query, who: Asker) -> bytes | tuple[message.Query, tuple[str, ...]]:
        # A network without a way out must not have one through us (CVE-2024-29018).
        if not who.outside:
            return message.refusal(query, message.REFUSED)
        servers = who.servers or self._host.get()
        return (query, servers) if servers else message.refusal(query, message.SERVFAIL)

    def _forward(self, forwarded: _Forwarded) -> None:
        if len(self._waiting) >= FORWARD_AT_ONCE:
            _send(forwarded.reply_to, message.refusal(forwarded.query, message.SERVFAIL), forwarded.client)
            return
        self._waiting.add(forwarded)
        self._try(forwarded)

    def _try(self, forwarded: _Forwarded) -> None:
        """Ask the next server; after the last, say that none answers."""
        self._drop_socket(forwarded)
        while forwarded.tries < FORWARD_TRIES:
            server = forwarded.servers[forwarded.tries % len(forwarded.servers)]
            forwarded.tries += 1
            # A socket of its own for each try: its random port, with the random number, is what a forger
            # would have to guess.
            forwarded.id = int.from_bytes(os.urandom(2), "big")
            try:
                asking = socket.socket(family_of(server), socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
                forwarded.socket = asking
                asking.connect((server, 53))
                asking.send(message.with_id(forwarded.data, forwarded.id))
            except OSError:
                if forwarded.socket:
                    forwarded.socket.close()
                    forwarded.socket = None
                continue
            forwarded.deadline = time.monotonic() + FORWARD_SECONDS
            self.watch(asking, lambda: self._answered(forwarded))
            return
        self._finish(forwarded, message.refusal(forwarded.query, message.SERVFAIL))

    def _answered(self, forwarded: _Forwarded) -> None:
        if forwarded.socket is None:
            return
        try:
            data = forwarded.socket.recv(65535)
        except BlockingIOError:
            return
        except OSError:
            # No server there: the next one.
            self._try(forwarded)
            return
        if message.answers(data, forwarded.id, forwarded.query.question):
            self._finish(forwarded, message.with_id(data, forwarded.query.id))

    def _finish(self, forwarded: _Forwarded, reply: bytes) -> None:
        self._drop_socket(forwarded)
        self._waiting.discard(forwarded)
        _send(forwarded.reply_to, reply, forwarded.client)

    def _drop_socket(self, forwarded: _Forwarded) -> None:
        if forwarded.socket:
            self._selector.unregister(forwarded.socket)
            forwarded.socket.close()
            forwarded.socket = None

    def _accept(self, listening: socket.socket) -> None:
        try:
            client, _ = listening.accept()
        except OSError:
            return
        if not self._tcp_clients.acquire(blocking=False):
            client.close()
            return
        threading.Thread(target=self._serve_client, args=(client,), daemon=True).start()

    def _serve_client(self, client: socket.socket) -> None:
        try:
            with client:
                serve_tcp(client, self.resolve)
        finally:
            self._tcp_clients.release()


def family_of(server: str) -> socket.AddressFamily:
    """The address family of a server's address."""
    return socket.AF_INET6 if ":" in server else socket.AF_INET


def _send(reply_to: socket.socket, reply: bytes, client: Address) -> None:
    try:
        reply_to.sendto(reply, client)
    except OSError:
        # The asker is gone, or its socket's buffer full: it will ask again if it still wants to know.
        pass
