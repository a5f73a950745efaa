"""The supervisor's socket: monitors, each for a process, and questions (docs/internals/monitor.md)."""

from __future__ import annotations

import _socket
import errno as E
import os
import select

from trimaran.linux import _sys
from trimaran.sandbox import translate
from trimaran.sandbox.kernel.outcome import Fail
from trimaran.sandbox.kernel.signals import SIGCONT, SIGKILL, SIGSTOP
from trimaran.sandbox.supervisor import usage
from trimaran.sandbox.supervisor.console import Console
from trimaran.sandbox.supervisor.program import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from trimaran.sandbox.kernel.task import Process, Task
    from trimaran.sandbox.sandbox import Sandbox

PACKET = 65536
MAX_FDS = 3
SOCKET = "sock"


class Peer:
    """A monitor's connection, and the process that it stands for."""

    def __init__(self, server: Server, connection: _socket.socket) -> None:
        self.server = server
        self.connection = connection
        self.process: Process | None = None
        self.task: Task | None = None
        self.console: Console | None = None
        self.started = False
        server.kernel.watch(connection.fileno(), select.EPOLLIN, self._ready)

    def _ready(self, events: int) -> None:
        try:
            data, fds, _flags, _from = _receive(self.connection)
        except OSError:
            data, fds = b"", []
        if not data:
            self.close()
            return
        try:
            self._take(data.decode("utf-8", "surrogateescape"), fds)
        except (Fail, OSError) as error:
            self.say(f"error -1 request {error.errno} -")
            self.close()

    def _take(self, text: str, fds: list[int]) -> None:
        words = text.split(" ")
        if text.startswith("{"):
            self._question(text)
        elif words[0] in ("container", "exec") and self.process is None:
            self._begin(words, fds)
        elif words[0] == "start":
            self.start()
        elif words[0] == "resize" and self.console is not None:
            self.console.resize(int(words[1]), int(words[2]))
        elif words[0] == "signal" and self.process is not None:
            self.server.kernel.signals.send(self.process, int(words[1]))

    def _question(self, text: str) -> None:
        from trimaran.spec import jsonio

        try:
            answer: dict[str, Any] = {"result": self.server.answer(jsonio.parse(text.encode()))}
        except (KeyError, ValueError, Fail, OSError) as error:
            answer = {"error": str(error) or type(error).__name__}
        self.say(jsonio.dump(answer))
        self.close()

    def _begin(self, words: list[str], fds: list[int]) -> None:
        """Make the process; it waits for its start."""
        server = self.server
        process = (
            server.record["config"]["process"] if words[0] == "container" else server.exec_request(words[1])
        )
        launch = translate.launch(process)
        launch.stdio = tuple(fds)
        ours = -1
        if launch.terminal or not fds:
            left, right = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
            ours = left.detach()
            self.connection.sendmsg([b"console"], [(1, 1, right.fileno().to_bytes(4, "little"))])
            right.close()
        try:
            task = server.new_task()
            self.task, self.process = task, task.process
            if ours >= 0:
                self.console = Console(server.kernel, ours, launch.size, launch.uid)
            server.sandbox.prepare(task, launch, self.console.terminal if self.console else None)
        except Fail as failure:
            self.say(f"error -1 execve {failure.errno} {os.fsdecode(launch.argv[0])}")
            self.fail()
            return
        self.say(f"ready {self.process.host}")

    def fail(self) -> None:
        if self.process is not None:
            _sys.send_signal(self.process.pidfd, SIGKILL)
        self.close()

    def start(self) -> None:
        if self.task is not None and not self.started:
            self.started = True
            self.server.status = "running"
            self.server.sandbox.start(self.task)
            self.say("started")

    def exited(self, code: int) -> None:
        if self.console is not None:
            self.console.close()
        self.say(f"exited {code}")
        self.close()

    def say(self, text: str) -> None:
        try:
            self.connection.send(text.encode("utf-8", "surrogateescape"))
        except OSError:
            return

    def close(self) -> None:
        if self in self.server.peers:
            self.server.peers.remove(self)
            self.server.kernel.unwatch(self.connection.fileno())
            self.connection.close()


def _receive(connection: _socket.socket) -> tuple[bytes, list[int], int, object]:
    data, ancillary, flags, address = connection.recvmsg(PACKET, 256)
    fds: list[int] = []
    for level, kind, body in ancillary:
        if (level, kind) == (1, 1):
            fds += [int.from_bytes(body[i : i + 4], "little") for i in range(0, len(body) & ~3, 4)]
    return data, fds, flags, address


class Server:
    """Listens at ``sock`` in the container's directory."""

    def __init__(
        self, sandbox: Sandbox, record: Mapping[str, Any], directory: int, listener: _socket.socket
    ) -> None:
        self.sandbox = sandbox
        self.kernel = sandbox.kernel
        self.record = record
        self.directory = directory
        self.listener = listener
        self.peers: list[Peer] = []
        self.status = "created"
        self.usage = usage.Usage(self.kernel)
        self.kernel.on_exit = self._exited
        self.kernel.watch(listener.fileno(), select.EPOLLIN, self._accept)
        self.finished = False
        self.program = Program("")
        self.ready: Task | None = sandbox.spawn()

    def _accept(self, events: int) -> None:
        fd, _address = self.listener._accept()  # type: ignore[attr-defined]
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, fileno=fd)
        self.peers.append(Peer(self, connection))

    def new_task(self) -> Task:
        """A task that waits for its program: the one made beforehand, or another."""
        task, self.ready = self.ready, None
        return task or self.sandbox.spawn()

    def exec_request(self, name: str) -> Mapping[str, Any]:
        """What the hull has written for exec NAME. Raises OSError."""
        from trimaran.linux import files
        from trimaran.spec import jsonio

        if "/" in name:
            raise Fail(E.EINVAL)
        request: Mapping[str, Any] = jsonio.parse(files.read_whole(self.directory, f"exec-{name}.json"))
        return request

    def _exited(self, process: Process, pidfd: int) -> None:
        """A process has ended; those that a monitor stands for are our own children."""
        if process.parent is not None:
            return
        try:
            code = _sys.reap(pidfd, True)
        except ChildProcessError:
            return
        code = code if code is not None else 0
        self.usage.ended()
        for peer in list(self.peers):
            if peer.process is process:
                peer.exited(code if code >= 0 else 128 - code)
        if process is self.sandbox.first:
            self.status = "stopped"
            self.finished = True

    def run(self) -> None:
        """Until the first process has ended."""
        while not self.finished:
            self.kernel.turn()
            self.usage.enforce()
        for peer in list(self.peers):
            peer.exited(137)

    # Questions.

    def answer(self, question: Mapping[str, Any]) -> Any:
        name = question["request"]
        handler = getattr(self, f"ask_{name}", None)
        if handler is None:
            raise ValueError(f"no request {name}")
        return handler(question)

    def ask_status(self, question: Mapping[str, Any]) -> str:
        return self.status

    def ask_kill(self, question: Mapping[str, Any]) -> None:
        number = int(question["signal"])
        targets = list(self.kernel.processes.values()) if question.get("all") else [self.sandbox.first]
        for process in targets:
            if process is not None:
                self.kernel.signals.send(process, number)

    def ask_pause(self, question: Mapping[str, Any]) -> None:
        self.kernel.settle_all()
        for process in list(self.kernel.processes.values()):
            _sys.send_signal(process.pidfd, SIGSTOP)
        self.status = "paused"

    def ask_resume(self, question: Mapping[str, Any]) -> None:
        for process in list(self.kernel.processes.values()):
            _sys.send_signal(process.pidfd, SIGCONT)
        self.status = "running"

    def ask_processes(self, question: Mapping[str, Any]) -> list[int]:
        self.kernel.settle_all()
        return sorted(self.kernel.processes)

    def ask_stats(self, question: Mapping[str, Any]) -> dict[str, Any]:
        return self.usage.report()

    def ask_update(self, question: Mapping[str, Any]) -> None:
        translate.apply_resources(self.kernel.settings, question["resources"])
