"""The machine's socket (``SOCK_SEQPACKET``): monitors that want a process, and the hull's requests.

A connection's first packet says what it is: ``container ID`` or ``exec ID EXEC-ID`` is a monitor (with the
process's streams as descriptors, none for a terminal), whose protocol is that of docs/internals/monitor.md;
JSON is a request of the hull, answered by one JSON packet. Requests too large for a packet lie in files of
the machine's directory, which only its owner may enter.
"""

from __future__ import annotations

import array
import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from trimaran.errors import CommandNotExecutable, CommandNotFound, KernelError, PlanError, TrimaranError
from trimaran.vm.keeper.containers import Container, Guest, Running
from trimaran.vm.keeper.stdio import Streams, open_terminal

_MAX_PACKET = 64 << 10
_MAX_DESCRIPTORS = 3
_FINISH_SECONDS = 2.0


class Connection:
    """One client. Packets come out of an asyncio queue; the end is an empty packet."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._loop = asyncio.get_running_loop()
        self._packets: asyncio.Queue[tuple[str, list[int]]] = asyncio.Queue()
        self._loop.add_reader(connection, self._readable)

    def _readable(self) -> None:
        space = socket.CMSG_SPACE(4 * _MAX_DESCRIPTORS)
        try:
            data, ancillary, _, _ = self._socket.recvmsg(_MAX_PACKET, space, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        fds = array.array("i")
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(content[: len(content) // 4 * 4])
        if not data:
            self._loop.remove_reader(self._socket)
        self._packets.put_nowait((data.decode("utf-8", "surrogateescape"), list(fds)))

    async def receive(self) -> tuple[str, list[int]]:
        """The next packet and its descriptors; an empty text at the end."""
        return await self._packets.get()

    def send(self, text: str, fd: int = -1) -> None:
        """Send one packet, perhaps with a descriptor. A client that left is no error."""
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))] if fd >= 0 else []
        try:
            self._socket.sendmsg([text.encode("utf-8", "surrogateescape")], ancillary)
        except (BrokenPipeError, ConnectionResetError, BlockingIOError):
            return

    def close(self) -> None:
        """Leave."""
        self._loop.remove_reader(self._socket)
        self._socket.close()


class Service:
    """Serves one machine's socket."""

    def __init__(
        self, directory: str, guest: Guest, requests: Mapping[str, Callable[..., Awaitable[Any]]]
    ) -> None:
        """``requests``: what the hull may ask of the machine itself, by name."""
        self._directory = directory
        self._guest = guest
        self._requests = requests
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, listener: socket.socket) -> None:
        """Accept clients until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(listener)
            task = loop.create_task(self._client(Connection(connection)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """Let clients that are being told how their processes ended be told."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_FINISH_SECONDS)

    async def _client(self, connection: Connection) -> None:
        text, fds = await connection.receive()
        try:
            if text.startswith("{"):
                connection.send(json.dumps(await self._request(json.loads(text))))
            elif text:
                await self._monitor(connection, text.split(" "), fds)
        finally:
            for fd in fds:
                os.close(fd)
            connection.close()

    async def _request(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request.pop("request", "")
        guest = self._guest
        try:
            if name in self._requests:
                return {"result": await self._requests[name](**request)}
            container = guest.get(request.pop("id"))
            return {"result": await self._container_request(name, container, request)}
        except TrimaranError as error:
            detail = {"kind": type(error).__name__, "message": error.message, "why": error.why}
            return {"error": {**detail, "hint": error.hint, "errno": getattr(error, "errno", 0)}}

    async def _container_request(self, name: str, container: Container, request: dict[str, Any]) -> Any:
        guest = self._guest
        if name == "start":
            assert container.first is not None
            return await guest.start(container, container.first)
        if name == "kill":
            return await guest.kill(container, request["signal"], everything=request["all"])
        if name in ("pause", "resume"):
            return await guest.freeze(container, name == "pause")
        if name == "processes":
            return await guest.processes(container)
        if name == "stats":
            return await guest.stats(container)
        if name == "update":
            return await guest.update(container, request["resources"])
        if name == "delete":
            return await guest.delete(container)
        if name == "status":
            return container.status
        raise TrimaranError(f"the machine knows no request {name!r}")

    async def _monitor(self, connection: Connection, words: list[str], fds: list[int]) -> None:
        """Make the process that a monitor wants, and tell the monitor how it goes."""

        def open_streams(terminal: bool) -> Streams | None:
            if terminal:
                return open_terminal(self._guest.agent, lambda master: connection.send("console", master))
            taken, fds[:] = list(fds), []
            return Streams(self._guest.agent, taken) if len(taken) == _MAX_DESCRIPTORS else None

        try:
            container, running = await self._make(words, open_streams)
        except TrimaranError as error:
            connection.send(report(error))
            return
        # The keeper's PID stands for the container: its network namespace is the container's.
        connection.send(f"ready {os.getpid() if running is container.first else 0}")
        code = asyncio.ensure_future(running.wait())
        await self._converse(connection, container, running, code)
        if running is container.first:
            container.status = "stopped"
        else:
            container.execs.pop(words[2], None)
        connection.send(f"exited {self._outcome(code)}")

    @staticmethod
    def _outcome(code: asyncio.Future[int]) -> int:
        """A machine that ended took its processes with it, as SIGKILL would."""
        return 137 if code.exception() else code.result()

    async def _make(
        self, words: list[str], open_streams: Callable[[bool], Streams | None]
    ) -> tuple[Container, Running]:
        with open(os.path.join(self._directory, f"{words[0]}-{words[-1]}.json"), encoding="utf-8") as file:
            request = json.load(file)
        if words[0] == "container":
            container = await self._guest.create(request, open_streams)
            assert container.first is not None
            return container, container.first
        container = self._guest.get(words[1])
        return container, await self._guest.exec(container, words[2], request["process"], open_streams)

    async def _converse(
        self, connection: Connection, container: Container, running: Running, code: asyncio.Future[int]
    ) -> None:
        """Do what the monitor says until the process has ended. A monitor that leaves changes nothing."""
        while not code.done():
            packet = asyncio.ensure_future(connection.receive())
            waiting: list[asyncio.Future[Any]] = [packet, code]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not packet.done():
                packet.cancel()
                return
            text, fds = packet.result()
            for fd in fds:
                os.close(fd)
            if not text:
                await asyncio.wait([code])
                return
            await self._obey(connection, container, running, text.split(" "))

    async def _obey(
        self, connection: Connection, container: Container, running: Running, words: list[str]
    ) -> None:
        from trimaran.vm.protocol import Op

        try:
            if words[0] == "start":
                await self._guest.start(container, running)
                connection.send("started")
            elif words[0] == "signal" and len(words) == 2:
                await self._guest.agent.call(Op.SIGNAL, running.number, int(words[1]))
            elif words[0] == "resize" and len(words) == 3:
                await self._guest.agent.call(Op.RESIZE, running.number, int(words[1]), int(words[2]))
        except TrimaranError as error:
            # A signal or a size that comes too late has no one to reach.
            if words[0] == "start":
                connection.send(report(error))


def report(error: TrimaranError) -> str:
    """The monitor's ``error INDEX STEP ERRNO PATH``."""
    if isinstance(error, PlanError):
        return f"error {error.index} {error.call} {error.errno} {error.path}"
    if isinstance(error, CommandNotFound | CommandNotExecutable):
        return f"error -1 execve {2 if isinstance(error, CommandNotFound) else 13} {error.message}"
    number = error.errno if isinstance(error, KernelError) else 5
    return f"error -1 machine {number} {error}"
