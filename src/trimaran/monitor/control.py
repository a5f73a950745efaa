"""A connection to a running monitor's control socket (docs/internals/monitor.md, "Control socket")."""

from __future__ import annotations

import _socket
import os

from trimaran.errors import KernelError, NotFound, TimedOut
from trimaran.monitor.exits import Exit, parse_event

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = 16 * 1024
"""The most bytes in one packet of input or output."""


class Output:
    """Something that came from a monitor: output, or an event.

    ``kind`` is ``stdout`` or ``stderr`` (with ``data``), ``started``, ``oom``, ``dropped`` (``count`` bytes
    were not sent since this client was too slow), ``error`` (``words``: INDEX STEP ERRNO PATH),
    ``exited`` (``exit``), or ``ok`` or ``refused``, the answer to a command that did not wait for it.
    """

    __slots__ = ("count", "data", "exit", "kind", "words")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.data = b""
        self.count = 0
        self.words: list[str] = []
        self.exit: Exit | None = None


def parse(packet: bytes) -> Output:
    """What a packet from the monitor means."""
    if packet[0] in (1, 2):
        output = Output("stdout" if packet[0] == 1 else "stderr")
        output.data = packet[1:]
        return output
    words = packet.decode("utf-8", "surrogateescape").split(" ", 4)
    output = Output(words[0])
    output.words = words[1:]
    if words[0] == "dropped":
        output.count = int(words[1])
    elif words[0] == "exited":
        output.exit = parse_event(words)
    return output


class Control:
    """One client of one monitor. Not for use by several threads at once.

    Raises :class:`NotFound` if no monitor serves the state directory (any longer).
    """

    def __init__(self, state: str | None = None, *, sock: _socket.socket | None = None) -> None:
        self._held: list[Output] = []
        self.sock = sock if sock is not None else self._connect(state or "")

    @staticmethod
    def _connect(state: str) -> _socket.socket:
        # Through a descriptor: the path of a socket may have 107 bytes only.
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        try:
            directory = os.open(state, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                sock.connect(f"/proc/self/fd/{directory}/control")
            finally:
                os.close(directory)
        except OSError as error:
            sock.close()
            if isinstance(error, (FileNotFoundError, ConnectionRefusedError, NotADirectoryError)):
                raise NotFound("no monitor is running", why=f"{state}/control: {error.strerror}") from error
            raise KernelError("connect", error.errno or 0, f"{state}/control") from error
        return sock

    def fileno(self) -> int:
        """The socket, readable when :meth:`receive` has something (unless :meth:`held`)."""
        return self.sock.fileno()

    def receive(self, timeout: float | None = None) -> Output | None:
        """The next output or event; None when the monitor has left. ``timeout`` in seconds."""
        if self._held:
            return self._held.pop(0)
        packet = self._packet(timeout)
        return parse(packet) if packet else None

    def _packet(self, timeout: float | None) -> bytes:
        self.sock.settimeout(timeout)
        try:
            return self.sock.recv(CHUNK + 1)
        except ConnectionResetError:
            return b""
        except TimeoutError as error:
            raise TimedOut("the monitor did not answer in time") from error

    def command(self, text: str, timeout: float | None = 10.0) -> list[str]:
        """Give one command; the words of the answer. Output that comes in between is kept for receive().

        Raises :class:`KernelError` if it is refused, :class:`NotFound` if the monitor has left.
        """
        try:
            self.sock.send(text.encode())
        except (BrokenPipeError, ConnectionResetError) as error:
            raise NotFound("the monitor has left") from error
        while packet := self._packet(timeout):
            output = parse(packet)
            if output.kind == "refused":
                raise KernelError(text, int(output.words[0]))
            if output.kind in ("ok", "status"):
                return output.words
            self._held.append(output)
        raise NotFound("the monitor has left")

    def status(self) -> tuple[str, int]:
        """The phase (``creating``, ``created``, ``running``, ``exited``) and the process's host PID."""
        phase, pid = self.command("status")
        return phase, int(pid)

    def attach(
        self, *, stdin: bool = False, stdout: bool = True, stderr: bool = True, block: bool = False
    ) -> None:
        """Begin to get output, and to be allowed to give input.

        ``block`` makes the process wait for this client instead of dropping what it is too slow to take.
        """
        chosen = {"stdin": stdin, "stdout": stdout, "stderr": stderr, "block": block}
        self.command("attach " + " ".join(name for name, on in chosen.items() if on))

    def attach_before(self, *, stdin: bool) -> None:
        """Attach, blocking, over a socket whose monitor has still to be launched."""
        self.sock.send(b"attach stdin stdout stderr block" if stdin else b"attach stdout stderr block")

    def start(self) -> None:
        """Let the created process go on; ``started`` or ``error`` follows as an event."""
        self.command("start")

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the terminal."""
        self.command(f"resize {rows} {columns}")

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        self.command(f"signal {number}")

    def reopen_logs(self) -> None:
        """Write to a new file at the log's path, after another has renamed the present one."""
        self.command("reopen-logs")

    def send_input(self, data: bytes) -> None:
        """Give input; waits while the process does not read."""
        self.sock.settimeout(None)
        for at in range(0, len(data), CHUNK - 1):
            self.sock.send(b"\0" + data[at : at + CHUNK - 1])

    def close_input(self) -> None:
        """End the input (a pipe's; a terminal has no end of input but what is typed)."""
        self.sock.settimeout(None)
        self.sock.send(b"close-stdin")

    def resize_soon(self, rows: int, columns: int) -> None:
        """Change the size of the terminal, without waiting for the answer."""
        self.sock.settimeout(None)
        self.sock.send(b"resize %d %d" % (rows, columns))

    def events(self) -> Iterator[Output]:
        """Everything that comes, until the monitor leaves."""
        while (output := self.receive()) is not None:
            yield output

    def wait(self, timeout: float | None = None) -> Exit | None:
        """Wait for the exit; None if the monitor left without one (its record may tell)."""
        import time

        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.001, deadline - time.monotonic())
            output = self.receive(left)
            if output is None or output.exit is not None:
                return output.exit if output else None

    def close(self) -> None:
        """Leave. The process goes on; a blocking client no longer holds it back."""
        self.sock.close()

    def __enter__(self) -> Control:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
