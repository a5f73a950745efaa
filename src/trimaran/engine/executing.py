"""One more process in a running container."""

from __future__ import annotations

import os
import time

from trimaran.engine import config, ending, events, files, starting, users
from trimaran.engine.options import Options
from trimaran.errors import Conflict, InvalidInput, NotFound, TimedOut
from trimaran.isolation import ExecRequest, Stdio
from trimaran.monitor.exits import read_exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping, Sequence
    from typing import Any

    from trimaran.engine.core import Core
    from trimaran.engine.store import Record
    from trimaran.monitor.control import Control
else:
    # Without enum, which takes longer to import than a container to start.
    import _signal as signal


class ExecOptions:
    """How a process is added: ``user``, ``workdir`` and ``env`` override the container's."""

    def __init__(
        self,
        *,
        tty: bool = False,
        interactive: bool = False,
        user: str = "",
        workdir: str = "",
        env: Mapping[str, str] | Sequence[str] = (),
        privileged: bool = False,
    ) -> None:
        self.tty = tty
        self.interactive = interactive
        self.user = user
        self.workdir = workdir
        self.env = env
        self.privileged = privileged


class Execution:
    """A process that was added. Close it when done with it; the process itself goes on."""

    def __init__(self, core: Core, container: str, id: str, pid: int) -> None:
        self._core = core
        self.container = container
        self.id = id
        self.pid = pid
        self.state = core.paths.state(container, id)

    def control(self) -> Control:
        """A connection to its monitor. Raises NotFound once it has ended."""
        from trimaran.monitor.control import Control

        return Control(self.state)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code. Raises TimedOut."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            exit = read_exit(self.state)
            if exit is not None:
                return exit.code
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimedOut(f"the command did not end within {timeout:g} seconds")
            try:
                with self.control() as control:
                    control.wait(left)
            except (NotFound, TimedOut):
                if not os.path.isdir(self.state):
                    raise NotFound("the container has ended, and the command with it") from None
                time.sleep(0.002)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Signal everything that the process has started and that is still in its session."""
        record = self._core.containers.find(self.container)
        for pid in self._core.isolations.get(record.isolation).processes(self.container):
            try:
                if os.getsid(pid) == self.pid:
                    os.kill(pid, number)
            except ProcessLookupError:
                continue

    def close(self) -> None:
        """Forget it, if it has ended."""
        if read_exit(self.state) is not None:
            ending.clear_directory(self.state)
        self._core.reap()


def execute(
    core: Core,
    container: str,
    command: Sequence[str],
    options: ExecOptions,
    streams: starting.Streams = starting.DEFAULT_STREAMS,
) -> Execution:
    """Add a process to a running container; returns when its program has been executed.

    Raises Conflict if the container does not run, CommandNotFound, CommandNotExecutable.
    """
    record = ending.refresh(core, core.containers.find(container))
    if record.state != "running":
        raise Conflict(f"nothing can be executed in container {record.name}", why=f"it is {record.state}")
    if not command:
        raise InvalidInput("there is no command to execute")
    id = os.urandom(16).hex()
    execution = Execution(core, record.id, id, 0)
    os.makedirs(execution.state, 0o700)
    try:
        request = ExecRequest(
            id, _process(core, record, command, options), execution.state, _stdio(options, streams)
        )
        process = core.isolations.get(record.isolation).exec(record.id, request)
    except BaseException:
        ending.clear_directory(execution.state)
        raise
    core.adopt(f"{record.id}/{id}", process)
    execution.pid = process.pid
    with core.database.write() as connection:
        events.record(connection, "container", "exec_start", record.id, {"execID": id})
    return execution


def _process(core: Core, record: Record, command: Sequence[str], wanted: ExecOptions) -> dict[str, Any]:
    options = Options(record.options)
    image = core.images.get(record.image_digest).run_config
    root = core.snapshots.root(record.id)
    given = wanted.user or options.user or image.get("User") or ""
    passwd, group = (files.read_in_root(root, f"etc/{name}") if given else "" for name in ("passwd", "group"))
    user = users.resolve(given, options.group_add, passwd, group) if given else users.User()
    variables = Options({"env": wanted.env}).environment
    changed = {
        "entrypoint": [],
        "tty": wanted.tty,
        "env": [*options.environment, *variables],
        "hostname": options.hostname or record.id[:12],
    }
    if wanted.workdir:
        changed["workdir"] = wanted.workdir
    if wanted.privileged:
        changed["privileged"] = True
    inputs = config.Inputs(id=record.id, image=image, command=command, user=user)
    return config.process(inputs, Options({**record.options, **changed}))


def _stdio(options: ExecOptions, streams: starting.Streams) -> Stdio:
    if streams.fds:
        return Stdio("pass", fds=streams.fds, lease=streams.lease)
    stdin = "closed" if not options.interactive else "open" if options.tty else "once"
    mode = "terminal" if options.tty else "pipes"
    return Stdio(mode, stdin, size=streams.size, client=streams.client, lease=streams.lease)  # type: ignore[arg-type]
