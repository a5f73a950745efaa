"""How containers end: what is found out, what is cleared away, what is recorded."""

from __future__ import annotations

import os
import time

from trimaran.engine import events, storage
from trimaran.engine.options import Options
from trimaran.errors import Conflict, InvalidInput, NotFound, TimedOut
from trimaran.monitor.exits import Exit, monitor_alive, read_exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from trimaran.engine.core import Core
    from trimaran.engine.store import Record
else:
    # Without enum, which takes longer to import than a container to start.
    import _signal as signal

LIVE = ("running", "paused")
CODE_LOST = 137
KILL_SECONDS = 10.0
_STATE_FILES = ("exit", "control", "monitor.pid", ".exit", ".monitor.pid", "console", "pid", "log.json")


def clear_state(core: Core, id: str) -> None:
    """Remove the state directory of a container's monitor, with those of its execs."""
    clear_directory(core.paths.state(id))


def clear_directory(path: str) -> None:
    """Remove one state directory."""
    for name in _STATE_FILES:
        try:
            os.unlink(f"{path}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            continue
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return
    except OSError:
        import shutil

        shutil.rmtree(path, ignore_errors=True)


def clear(core: Core, record: Record, *, force: bool = False) -> None:
    """Take away what a process had of the host: cgroups, network, mounts. Idempotent."""
    core.isolations.get(record.isolation).delete(record.id, force=force)
    if has_network(Options(record.options)):
        core.networks.detach(record.id)
    core.reap()


def has_network(options: Options) -> bool:
    """Whether the engine attaches the container to networks."""
    first = options.networks[0] if options.networks else ""
    return first not in ("none", "host") and not first.startswith(("container:", "ns:"))


def refresh(core: Core, record: Record) -> Record:
    """The record as it is now: an exit that has happened in the meantime is settled first."""
    if record.state in LIVE and settle(core, record) is not None:
        return core.containers.find(record.id)
    return record


def settle(core: Core, record: Record) -> Exit | None:
    """Record the exit of a container that was running; None if it still runs.

    Whoever looks first does it. A monitor that is gone without a record was killed: so is its container.
    """
    state = core.paths.state(record.id)
    exit = read_exit(state) if record.boot == core.boot else Exit(CODE_LOST, signal.SIGKILL)
    error = ""
    if exit is None:
        if monitor_alive(state):
            return None
        exit = read_exit(state)
        if exit is None:
            exit = Exit(CODE_LOST, signal.SIGKILL, False, time.time_ns())
            error = "its monitor was killed"
    clear(core, record, force=True)
    with core.database.write() as connection:
        finished = exit.time or time.time_ns()
        fields = {
            "finished": finished,
            "exit_code": exit.code,
            "oom": int(exit.oom),
            "error": error,
            "pid": 0,
        }
        if core.containers.transition(record.id, LIVE, state="exited", **fields):
            connection.execute(
                "INSERT INTO exit VALUES (?, ?, ?, ?, ?)",
                (record.id, record.started, finished, exit.code, int(exit.oom)),
            )
            events.record(connection, "container", "die", record.id, {"exitCode": str(exit.code)})
    return exit


def wait(core: Core, id: str, timeout: float | None = None) -> int:
    """Wait until a container has exited; its exit code. Raises TimedOut."""
    deadline = None if timeout is None else time.monotonic() + timeout
    told: Exit | None = None
    while True:
        try:
            record = refresh(core, core.containers.find(id))
        except NotFound:
            # Removed as soon as it had exited: we have been told how.
            if told is None:
                raise
            return told.code
        if record.state not in (*LIVE, "starting"):
            return record.exit_code
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimedOut(f"container {record.name} did not exit within {timeout:g} seconds")
        told = _wait_for_monitor(core, record.id, left) or told


def _wait_for_monitor(core: Core, id: str, timeout: float | None) -> Exit | None:
    from trimaran.monitor.control import Control

    try:
        with Control(core.paths.state(id)) as control:
            return control.wait(timeout)
    except TimedOut:
        return None
    except NotFound:
        # It has just left, or has not begun: then its record, or its absence, is seen next.
        time.sleep(0.005)
        return read_exit(core.paths.state(id))


def kill(core: Core, id: str, number: int) -> None:
    """Send a signal to the first process. Raises Conflict if the container does not run."""
    record = refresh(core, core.containers.find(id))
    if record.state not in LIVE:
        raise Conflict(f"container {record.name} cannot be signalled", why=f"it is {record.state}")
    with core.database.write() as connection:
        if number == signal.SIGKILL:
            core.containers.change(record.id, stopped=1)
        events.record(connection, "container", "kill", record.id, {"signal": str(number)})
    core.isolations.get(record.isolation).kill(record.id, number)


def stop(core: Core, id: str, timeout: float | None = None, number: int | None = None) -> int:
    """Ask a container to end, and kill it if it has not within ``timeout`` seconds; its exit code."""
    record = refresh(core, core.containers.find(id))
    if record.state not in LIVE:
        core.containers.change(record.id, stopped=1)
        return record.exit_code
    options = Options(record.options)
    core.containers.change(record.id, stopped=1)
    hull = core.isolations.get(record.isolation)
    if record.state == "paused":
        hull.resume(record.id)
    chosen = number or stop_signal(core, record, options)
    _send(core, record, chosen)
    try:
        code = wait(core, record.id, options.stop_timeout if timeout is None else timeout)
    except TimedOut:
        _send(core, record, signal.SIGKILL)
        code = wait(core, record.id, KILL_SECONDS)
    with core.database.write() as connection:
        events.record(connection, "container", "stop", record.id, {})
    return code


def stop_signal(core: Core, record: Record, options: Options) -> int:
    """What asks the container to end: its option, else its image's, else TERM."""
    if options.stop_signal:
        return signal_number(options.stop_signal)
    try:
        text = core.images.get(record.image_digest).run_config.get("StopSignal")
        return signal_number(text) if text else int(signal.SIGTERM)
    except (NotFound, InvalidInput):
        return int(signal.SIGTERM)


def _send(core: Core, record: Record, number: int) -> None:
    try:
        core.isolations.get(record.isolation).kill(record.id, number)
    except (NotFound, Conflict):
        # It has ended by itself: wait() will see.
        return


def signal_number(text: str) -> int:
    """``15``, ``TERM``, ``SIGTERM``, ``RTMIN+3``. Raises InvalidInput."""
    name = text.upper().removeprefix("SIG")
    if name.isdigit() and 0 < int(name) <= signal.SIGRTMAX:
        return int(name)
    base, plus, offset = name.partition("+")
    found = getattr(signal, f"SIG{base}", None)
    if found is None or (plus and not offset.isdigit()):
        raise InvalidInput(f"'{text}' is no signal", hint="such as TERM, HUP or 15")
    return int(found) + int(offset or 0)


def remove(core: Core, id: str, *, force: bool = False, volumes: bool = False) -> None:
    """Remove a container that does not run, or with ``force`` one that does. Raises Conflict."""
    record = refresh(core, core.containers.find(id))
    if record.state in LIVE:
        if not force:
            raise Conflict(
                f"container {record.name} cannot be removed",
                why=f"it is {record.state}",
                hint="stop it first, or use force",
            )
        core.containers.change(record.id, stopped=1)
        _send(core, record, signal.SIGKILL)
        wait(core, record.id, KILL_SECONDS)
    with core.database.write():
        if not core.containers.transition(record.id, ("created", "exited"), state="removing"):
            raise Conflict(f"container {record.name} cannot be removed", why="someone else is at it")
        core.database.announce("container.remove", record.id, {"volumes": volumes})
    finish_removal(core, record, volumes=volumes)


def finish_removal(core: Core, record: Record, *, volumes: bool = False) -> None:
    """Take away the rest of a container whose row says ``removing``. Idempotent."""
    clear_state(core, record.id)
    storage.release(core, record.id, record.mounts, anonymous=volumes)
    remove_directory(core, record.id)
    with core.database.write() as connection:
        core.snapshots.remove(record.id)
        core.images.release(record.id)
        core.containers.remove(record.id)
        connection.execute("DELETE FROM intent WHERE subject = ? AND kind LIKE 'container.%'", (record.id,))
        events.record(
            connection, "container", "destroy", record.id, {"name": record.name, "image": record.image}
        )


def remove_directory(core: Core, id: str) -> None:
    """Remove the files that the engine keeps for a container (its root is the snapshotter's)."""
    path = core.paths.container(id)
    try:
        entries = list(os.scandir(path))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_file(follow_symlinks=False):
            os.unlink(entry.path)


def end_and_remove(core: Core, record: Record, exit: Exit) -> None:
    """After the exit of a container that is removed with it: all at once."""
    clear(core, record, force=True)
    with core.database.write() as connection:
        if not core.containers.transition(record.id, LIVE, state="removing", exit_code=exit.code):
            return
        events.record(connection, "container", "die", record.id, {"exitCode": str(exit.code)})
        core.database.announce("container.remove", record.id, {"volumes": True})
    finish_removal(core, record, volumes=True)
