"""Starting a monitor, and following its report (docs/internals/monitor.md, "Launch" and "Report socket")."""

from __future__ import annotations

import _socket
import os

from trimaran.errors import (
    CommandNotExecutable,
    CommandNotFound,
    GuestError,
    PlanError,
    TimedOut,
    TrimaranError,
)
from trimaran.linux import _sys
from trimaran.monitor.exits import Exit, parse_event

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Literal, Protocol

    class StdioLike(Protocol):
        """What is needed of :class:`trimaran.isolation.Stdio`."""

        @property
        def mode(self) -> str: ...
        @property
        def stdin(self) -> str: ...
        @property
        def fds(self) -> tuple[int, int, int] | None: ...
        @property
        def log(self) -> str: ...
        @property
        def log_size(self) -> int: ...
        @property
        def log_files(self) -> int: ...
        @property
        def size(self) -> tuple[int, int]: ...
        @property
        def client(self) -> int: ...
        @property
        def lease(self) -> int: ...


_FIRST_GIVEN = 6
_MAX_PACKET = 8192
_NOT_FOUND = (2, 20)  # ENOENT, ENOTDIR
_PROGRAM = os.path.join(os.path.dirname(os.path.dirname(__file__)), "_bin", "trimaran-monitor")

_executable = -1
_null = -1


class Launched:
    """A monitor that has been started, and the engine's end of its report socket.

    ``pid`` and ``pidfd`` are the monitor's. Whoever launched it reaps it: :meth:`reap`, or at exit of this
    process, the host's init. :meth:`close` lets the report go; the monitor goes on.
    """

    def __init__(self, pid: int, pidfd: int, report: _socket.socket) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.report = report

    def fileno(self) -> int:
        """The report socket, readable when :meth:`receive` has something."""
        return self.report.fileno()

    def receive(self) -> list[str]:
        """The next report, split at spaces; an empty list when the monitor has left."""
        try:
            packet = self.report.recv(_MAX_PACKET)
        except ConnectionResetError:
            return []
        except TimeoutError as error:
            raise TimedOut("the monitor did not report in time") from error
        return packet.decode("utf-8", "surrogateescape").split(" ", 4) if packet else []

    def wait_created(self) -> int:
        """Wait until the process waits to be started; its host PID (0 if the host cannot see it).

        Raises :class:`PlanError`, or a subclass of :class:`TrimaranError` for what else went wrong.
        """
        return int(self._expect("created")[1])

    def start(self) -> None:
        """Let the process go on; :meth:`wait_started` says whether it did."""
        self.report.send(b"start")

    def wait_started(self) -> None:
        """Wait until the program has been executed.

        Raises :class:`CommandNotFound`, :class:`CommandNotExecutable` or :class:`PlanError`.
        """
        self._expect("started")

    def wait_exited(self) -> Exit:
        """Wait until the process has ended and its exit is recorded (the time is only in the record)."""
        return parse_event(self._expect("exited"))

    def _expect(self, wanted: str) -> list[str]:
        while words := self.receive():
            if words[0] == wanted:
                return words
            if words[0] == "error":
                raise failure(words[1:])
            if words[0] == "exited":
                raise GuestError(f"the process ended before it was {wanted}", why=f"exit code {words[1]}")
        raise GuestError(
            f"the monitor ended before it reported '{wanted}'",
            why=f"it was killed, or could not be executed (PID {self.pid})",
        )

    def reap(self, block: bool = False) -> int | None:
        """Collect the monitor itself: its wait code, None while it runs (or when another has reaped it)."""
        if self.pidfd < 0:
            return None
        try:
            code = _sys.reap(self.pidfd, block)
        except ChildProcessError:
            code = 0
        if code is not None:
            os.close(self.pidfd)
            self.pidfd = -1
        return code

    def close(self) -> None:
        """Close the report socket. The monitor and the process go on."""
        self.report.close()


def failure(words: list[str]) -> TrimaranError:
    """The error that ``INDEX STEP ERRNO PATH`` stands for."""
    index, step, error, *rest = words
    path = rest[0] if rest else ""
    if step == "execve":
        kind = CommandNotFound if int(error) in _NOT_FOUND else CommandNotExecutable
        return kind(f"cannot execute {path}", why=os.strerror(int(error)), hint=_advice(int(error)))
    if step == "ended":
        return GuestError("the process ended before it was ready", why=f"exit code {path}")
    return PlanError(int(index), step, int(error), path)


def _advice(error: int) -> str:
    if error in _NOT_FOUND:
        return "is it in the image, and is the interpreter that it names?"
    if error == 8:  # ENOEXEC
        return "is it a program for this architecture, or a script without #! line?"
    return "is it a file with execute permission?"


def quote(value: str) -> bytes:
    """A value of a launch record: one line of bytes, without NUL."""
    data = os.fsencode(value)
    if b"\0" in data:
        raise PlanError(-1, "launch", 22, value)
    return data.replace(b"%", b"%25").replace(b"\n", b"%0A")


def encode(entries: Iterable[tuple[str, str | int]]) -> bytes:
    """The launch record with these entries, in this order."""
    return b"".join(b"%s %s\n" % (key.encode(), quote(str(value))) for key, value in entries)


def sealed(name: str, data: bytes) -> int:
    """A memory file that can no longer change (memfd_create(2), F_ADD_SEALS in fcntl(2))."""
    import fcntl

    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, 0xF)
    return fd


def _program() -> int:
    """The monitor's program in a sealed memory file: what it starts can reach and change no file of ours."""
    global _executable
    if _executable < 0:
        with open(_PROGRAM, "rb", buffering=0) as file:
            _executable = sealed("trimaran-monitor", file.readall() or b"")
    return _executable


def _devnull() -> int:
    global _null
    if _null < 0:
        _null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    return _null


def _entries(stdio: StdioLike, start: bool, durable: bool) -> list[tuple[str, str | int]]:
    entries: list[tuple[str, str | int]] = [
        ("stdio", stdio.mode),
        ("stdin", stdio.stdin),
        ("log", stdio.log),
        ("log-size", stdio.log_size),
        ("log-files", stdio.log_files),
        ("rows", stdio.size[0]),
        ("columns", stdio.size[1]),
        ("start", "now" if start else "wait"),
        ("durable", "yes" if durable else "no"),
    ]
    if stdio.lease:
        entries.append(("lease", stdio.lease))
    return entries


def launch(
    *,
    id: str,
    mode: Literal["plan", "command", "connect"],
    state: str | int,
    stdio: StdioLike,
    start: bool = False,
    durable: bool = False,
    plan: int = -1,
    extra: Sequence[tuple[str, str | int]] = (),
) -> Launched:
    """Start a monitor; :meth:`Launched.wait_created` then says how its process fares.

    ``state`` is the state directory (or a descriptor of it); ``plan`` the descriptor of a plan's wire form
    for mode ``plan``; ``extra`` more entries of the launch record, such as ``("arg", "/usr/bin/x")``. All
    descriptors, also those in ``stdio``, stay the caller's.
    """
    entries = [("id", id), ("mode", mode), *_entries(stdio, start, durable), *extra]
    given: list[int] = []
    for key, fd in (("plan", plan), ("client", stdio.client)):
        if fd >= 0:
            entries.append((key, _FIRST_GIVEN + len(given)))
            given.append(fd)
    streams = stdio.fds if stdio.mode == "pass" and stdio.fds else (_devnull(),) * 3
    record = sealed("launch", encode(entries))
    directory = os.open(state, os.O_DIRECTORY | os.O_CLOEXEC) if isinstance(state, str) else state
    ours, theirs = _pair()
    try:
        fds = [*streams, record, theirs.fileno(), directory, *given]
        pid, pidfd = _sys.spawn(_program(), [b"trimaran-monitor", id.encode()], [], fds, new_session=True)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
        os.close(record)
        if isinstance(state, str):
            os.close(directory)
    return Launched(pid, pidfd, ours)


def _pair() -> tuple[_socket.socket, _socket.socket]:
    return _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
