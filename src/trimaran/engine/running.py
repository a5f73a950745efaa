"""Running a command to its end and collecting what it prints: the shortest way through the engine."""

from __future__ import annotations

import os
import select
import time

from trimaran.engine import creation, ending, executing, starting
from trimaran.engine.result import Result
from trimaran.errors import Conflict, NotFound, TimedOut
from trimaran.monitor.exits import Exit, read_exit
from trimaran.state import owner_identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Sequence

    from trimaran.engine.core import Core
    from trimaran.engine.options import Options
else:
    # Without enum, which takes longer to import than a container to start.
    import _signal as signal

CHUNK = 64 * 1024
DEFAULT_LIMIT = 64 << 20
_PIPE = 1 << 20


class Collector:
    """Feeds a process's input and collects its output, through pipes that it was given.

    ``limit`` bounds what is kept of each stream (what is beyond is read and dropped: a container's output
    must not fill our memory); ``line`` is called with each piece as it comes, if given.
    """

    def __init__(
        self, stdin: bytes, limit: int, piece: Callable[[str, bytes], None] | None, deadline: float | None
    ) -> None:
        self._stdin = memoryview(stdin)
        self._limit = limit
        self._piece = piece
        self._deadline = deadline
        self.output = {"stdout": bytearray(), "stderr": bytearray()}
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        self._theirs = [null]
        self._ours: dict[int, str] = {}
        self._input = -1
        if stdin:
            os.close(null)
            self._theirs[0], self._input = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(self._input, False)
        for name in ("stdout", "stderr"):
            ours, theirs = os.pipe2(os.O_CLOEXEC)
            self._ours[ours] = name
            self._theirs.append(theirs)

    @property
    def fds(self) -> tuple[int, int, int]:
        """The process's ends."""
        return self._theirs[0], self._theirs[1], self._theirs[2]

    def let_go(self) -> None:
        """The process has its ends: ours of them are closed."""
        for fd in self._theirs:
            os.close(fd)
        self._theirs.clear()

    def run(self) -> bool:
        """Pass on until all output has ended; False if the deadline came first."""
        poll = select.poll()
        for fd in self._ours:
            poll.register(fd, select.POLLIN)
        if self._input >= 0:
            poll.register(self._input, select.POLLOUT)
        while self._ours:
            left = None if self._deadline is None else (self._deadline - time.monotonic()) * 1000
            if left is not None and left <= 0:
                return False
            for fd, _ in poll.poll(left):
                if not (self._write() if fd == self._input else self._read(fd)):
                    poll.unregister(fd)
                    os.close(fd)
        return True

    def _read(self, fd: int) -> bool:
        data = os.read(fd, CHUNK)
        if not data:
            del self._ours[fd]
            return False
        name = self._ours[fd]
        if self._piece:
            self._piece(name, data)
        else:
            kept = self.output[name]
            kept += data[: max(0, self._limit - len(kept))]
        return True

    def _write(self) -> bool:
        try:
            self._stdin = self._stdin[os.write(self._input, self._stdin[:CHUNK]) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            self._stdin = self._stdin[:0]
        if self._stdin:
            return True
        self._input = -1
        return False

    def close(self) -> None:
        """Close whatever is open."""
        self.let_go()
        for fd in [*self._ours, *([self._input] if self._input >= 0 else [])]:
            os.close(fd)
        self._ours.clear()
        self._input = -1


def run(
    core: Core,
    reference: str,
    command: Sequence[str] | None,
    options: Options,
    *,
    stdin: bytes = b"",
    timeout: float | None = None,
    limit: int = DEFAULT_LIMIT,
    piece: Callable[[str, bytes], None] | None = None,
) -> Result:
    """Create, start, wait for and remove a container; its exit code and output.

    Raises TimedOut (the container is killed and removed), and whatever creating and starting raise.
    """
    image = creation.obtain(core, reference, options)
    deadline = None if timeout is None else time.monotonic() + timeout
    collector = Collector(stdin, limit, piece, deadline)
    try:
        id, root = creation.create(
            core, image, reference, command, options, lease=owner_identity(), starting=True
        )
        try:
            streams = starting.Streams(fds=collector.fds, lease=os.getpid())
            starting.run(core, id, image, options, root, streams)
            collector.let_go()
            if not (collector.run() and _ended(core, id, deadline)):
                raise TimedOut(f"the command did not end within {timeout:g} seconds", hint="it was killed")
            exit = _remove(core, id)
        except BaseException:
            _destroy(core, id)
            raise
    finally:
        collector.close()
    out, err = (bytes(collector.output[name]) for name in ("stdout", "stderr"))
    return Result(exit.code, out, err, oom=exit.oom, container_id=id, command=tuple(command or ()))


def execute(
    core: Core,
    container: str,
    command: Sequence[str],
    options: executing.ExecOptions,
    *,
    stdin: bytes = b"",
    timeout: float | None = None,
    limit: int = DEFAULT_LIMIT,
    piece: Callable[[str, bytes], None] | None = None,
) -> Result:
    """Run one more command in a running container to its end. Raises TimedOut; then it has been killed."""
    deadline = None if timeout is None else time.monotonic() + timeout
    collector = Collector(stdin, limit, piece, deadline)
    try:
        streams = starting.Streams(fds=collector.fds, lease=os.getpid())
        execution = executing.execute(core, container, command, options, streams)
        try:
            collector.let_go()
            if not collector.run():
                raise TimedOut(f"the command did not end within {timeout:g} seconds", hint="it was killed")
            code = execution.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        except BaseException:
            execution.kill()
            raise
        finally:
            execution.close()
    finally:
        collector.close()
    out, err = (bytes(collector.output[name]) for name in ("stdout", "stderr"))
    return Result(code, out, err, container_id=execution.container, command=tuple(command))


def _ended(core: Core, id: str, deadline: float | None) -> bool:
    """Wait for the monitor to have recorded the exit."""
    return core.await_monitor(id, None if deadline is None else max(0.0, deadline - time.monotonic()))


def _remove(core: Core, id: str) -> Exit:
    exit = read_exit(core.paths.state(id)) or Exit(ending.CODE_LOST, signal.SIGKILL)
    ending.end_and_remove(core, core.containers.find(id), exit)
    return exit


def _destroy(core: Core, id: str) -> None:
    try:
        ending.remove(core, id, force=True, volumes=True)
    except (NotFound, Conflict):
        # Someone else has removed it, or is at it.
        return
