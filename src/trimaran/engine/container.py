"""A container, as a program holds it."""

from __future__ import annotations

from trimaran.engine import ending, executing, running, starting
from trimaran.monitor.exits import read_exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from trimaran.engine.core import Core
    from trimaran.engine.result import Result
    from trimaran.engine.store import Record
    from trimaran.monitor.control import Control
    from trimaran.monitor.logs import Record as LogRecord


class Container:
    """One container of an engine, by its id. What it says is read anew each time it is asked.

    Methods raise :class:`~trimaran.errors.NotFound` once the container has been removed.
    """

    def __init__(self, core: Core, id: str) -> None:
        self._core = core
        self.id = id

    @property
    def record(self) -> Record:
        """All that is recorded of it, an exit in the meantime included."""
        return ending.refresh(self._core, self._core.containers.find(self.id))

    @property
    def name(self) -> str:
        """Its name."""
        return self._core.containers.find(self.id).name

    @property
    def state(self) -> str:
        """``created``, ``starting``, ``running``, ``paused``, ``exited`` or ``removing``."""
        return self.record.state

    @property
    def exit_code(self) -> int:
        """Of its last run; 0 before."""
        return self.record.exit_code

    def start(self, streams: starting.Streams = starting.DEFAULT_STREAMS) -> None:
        """Start it; returns when its program has been executed.

        Raises CommandNotFound, CommandNotExecutable, Conflict if it runs, NetworkError, PlanError.
        """
        starting.start(self._core, self.id, streams)
        if streams is starting.DEFAULT_STREAMS:
            self.look_after()

    def look_after(self, *, attached: bool = False) -> None:
        """See to it that its restart policy, its health check and its removal are done, if it has any.

        Who is ``attached`` removes it himself.
        """
        record = self._core.containers.find(self.id)
        if record.lease:
            return
        from trimaran.engine import supervisor

        if supervisor.needed(self._core, record, attached=attached):
            supervisor.ensure(self._core)

    def stop(self, timeout: float | None = None, signal: int | None = None) -> int:
        """Ask it to end by its stop signal, kill it after ``timeout`` seconds; its exit code."""
        return ending.stop(self._core, self.id, timeout, signal)

    def kill(self, signal: str | int = "KILL") -> None:
        """Send a signal to its first process. Raises Conflict if it does not run."""
        ending.kill(self._core, self.id, ending.signal_number(str(signal)))

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has exited; its exit code. Raises TimedOut."""
        return ending.wait(self._core, self.id, timeout)

    def wait_and_remove(self) -> int:
        """Wait until it has exited, and remove it with its anonymous volumes; its exit code."""
        core = self._core
        core.await_monitor(self.id, None)
        record = core.containers.find(self.id)
        exit = read_exit(core.paths.state(self.id))
        if record.state != "running" or exit is None:
            code = self.wait()
            self.remove(volumes=True)
            return code
        ending.end_and_remove(core, record, exit)
        return exit.code

    def pause(self) -> None:
        """Freeze its processes. Raises Conflict if it does not run."""
        from trimaran.engine import changing

        changing.pause(self._core, self.id)

    def unpause(self) -> None:
        """Undo :meth:`pause`."""
        from trimaran.engine import changing

        changing.unpause(self._core, self.id)

    def restart(self, timeout: float | None = None) -> None:
        """Stop it, if it runs, and start it again."""
        self.stop(timeout)
        self.start()

    def rename(self, name: str) -> None:
        """Give it another name. Raises Conflict if that is taken."""
        from trimaran.engine import changing

        changing.rename(self._core, self.id, name)

    def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it; with ``force`` also while it runs, with ``volumes`` with its anonymous volumes."""
        ending.remove(self._core, self.id, force=force, volumes=volumes)

    def exec(
        self,
        command: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float | None = None,
        check: bool = False,
        output_limit: int = running.DEFAULT_LIMIT,
        on_output: Callable[[str, bytes], None] | None = None,
        user: str = "",
        workdir: str = "",
        env: Mapping[str, str] | Sequence[str] = (),
    ) -> Result:
        """Run one more command in it, to its end: exit code and output, as :meth:`Engine.run` gives them.

        Raises TimedOut (what the command has started in its session is killed), Conflict if the container
        does not run, CommandNotFound, CommandNotExecutable.
        """
        options = executing.ExecOptions(user=user, workdir=workdir, env=env)
        result = running.execute(
            self._core,
            self.id,
            command,
            options,
            stdin=stdin,
            timeout=timeout,
            limit=output_limit,
            piece=on_output,
        )
        return result.check() if check else result

    def control(self) -> Control:
        """A connection to its monitor, to attach to it. Raises NotFound if it does not run."""
        from trimaran.monitor.control import Control

        return Control(self._core.paths.state(self.id))

    def logs(
        self, *, follow: bool = False, since: str = "", until: str = "", tail: int | None = None
    ) -> Iterator[LogRecord]:
        """What it has written; with ``follow``, what it will write until it exits."""
        from trimaran.engine import reading

        return reading.logs(self._core, self.id, follow=follow, since=since, until=until, tail=tail)

    def __repr__(self) -> str:
        return f"Container({self.id[:12]!r})"
