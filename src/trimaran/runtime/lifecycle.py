"""The OCI life cycle of native containers that exist: start, state, kill, delete, and changes.

runtime.md, "Operations". Creating is in :mod:`trimaran.runtime.creating`, which needs far more modules.
"""

from __future__ import annotations

import os

from trimaran.errors import Conflict, KernelError, NotFound, SpecError, TrimaranError
from trimaran.linux import processes, sockets
from trimaran.runtime.cgroups import control
from trimaran.spec import jsonio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    from trimaran.runtime.store import Entry, Store
    from trimaran.spec.resources import Resources

    Status = Literal["created", "running", "paused", "stopped"]

OCI_VERSION = "1.3.0"
SIGKILL = 9


def remove_groups(state: dict[str, Any]) -> None:
    """Remove a container's cgroups and its resctrl group."""
    control.remove(state.get("cgroups", []))
    for group in state.get("resctrl", []):
        try:
            os.rmdir(group)
        except FileNotFoundError:
            continue


def _owner(uid: int) -> str:
    """The name of a user, or the number if it has none."""
    if uid == 0:
        return "root"
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def status(entry: Entry, state: dict[str, Any]) -> Status:
    """``created``, ``running``, ``paused`` or ``stopped``: what the host says, not what was noted."""
    if not processes.alive(state["pid"], state["started"]):
        return "stopped"
    try:
        os.stat("start", dir_fd=entry.directory, follow_symlinks=False)
        return "created"
    except FileNotFoundError:
        return "paused" if control.frozen(state["cgroups"]) else "running"


def oci_state(entry: Entry) -> dict[str, object]:
    """The state as the specification wants it (runtime.md, "State"), with runc's additions."""
    state = entry.read()
    now = status(entry, state)
    return {
        "ociVersion": state["ociVersion"],
        "id": entry.id,
        "pid": 0 if now == "stopped" else state["pid"],
        "status": now,
        "bundle": state["bundle"],
        "rootfs": state["rootfs"],
        "created": state["created"],
        **({"annotations": state["annotations"]} if state["annotations"] else {}),
        "owner": _owner(os.fstat(entry.directory).st_uid),
    }


def start(store: Store, id: str) -> list[str]:
    """Let a created container execute its program; returns warnings when it has.

    Raises Conflict in any other state, CommandNotFound, CommandNotExecutable or PlanError if the program
    could not be executed (the container is stopped then).
    """
    with store.open(id, locked=True) as entry:
        state = entry.read()
        now = status(entry, state)
        if now != "created":
            raise Conflict(f"container {id} cannot be started", why=f"it is {now}, not created")
        peer = sockets.connect(entry.directory, "start")
        try:
            os.unlink("start", dir_fd=entry.directory)
            peer.send(b"start")
            report, _ = peer.receive()
        finally:
            peer.close()
        if report.startswith(b"error "):
            raise _not_started(state, report.decode("utf-8", "replace")[6:])
        failures = late_hooks(entry, "poststart")
    if failures:
        # runtime.md, "Lifecycle", step 9: the container is stopped and destroyed.
        warnings = delete(store, id, force=True)
        raise TrimaranError(f"container {id} was not started", why="; ".join([*failures, *warnings]))
    return []


def _not_started(state: dict[str, Any], report: str) -> TrimaranError:
    if not state.get("process", True):
        return SpecError("$.process", "is missing", hint="a container without it can be created, not started")
    from trimaran.runtime import launch

    return launch.explain(None, report)


def late_hooks(entry: Entry, kind: str) -> list[str]:
    """Run the hooks that follow a step, and say which failed; without any, the configuration is not even
    parsed."""
    if b'"' + kind.encode() + b'"' not in entry.config_bytes():
        return []
    from trimaran.runtime import hooks
    from trimaran.spec.runtime import Config

    config = Config.parse(entry.config())
    wanted = getattr(config.hooks, kind) if config.hooks else []
    if not wanted:
        return []
    state = oci_state(entry)
    if kind == "poststart":
        # A program may have ended by now: the hook is told of the container as it was started.
        state |= {"status": "running", "pid": entry.read()["pid"]}
    return hooks.run_all(wanted, kind, jsonio.dump(state))


def kill(store: Store, id: str, signal: int, *, all: bool = False) -> None:
    """Signal the first process, or every process. Raises Conflict if the container is stopped."""
    with store.open(id) as entry:
        state = entry.read()
        if all:
            control.signal_all(state["cgroups"], signal)
            return
        try:
            reached = processes.signal(state["pid"], state["started"], signal)
        except OSError as error:
            raise KernelError(
                "kill", error.errno or 0, message=f"cannot send signal {signal} to {id}"
            ) from None
        if reached and signal == SIGKILL:
            control.thaw_process(state["pid"])
        if not reached:
            raise Conflict(f"container {id} cannot be signalled", why="it is not running")


def delete(store: Store, id: str, *, force: bool = False) -> list[str]:
    """Remove what is left of a container; returns warnings. Raises Conflict if it runs, without ``force``.

    With ``force``, an unknown container is no error, as for runc.
    """
    try:
        entry = store.open(id, locked=True)
    except NotFound:
        if force:
            return []
        raise
    with entry:
        try:
            state = entry.read()
        except NotFound:
            store.remove(entry)
            return []
        now = status(entry, state)
        if now not in ("stopped", "created") and not force:
            raise Conflict(
                f"container {id} cannot be deleted", why=f"it is {now}", hint="kill it first, or use --force"
            )
        processes.signal(state["pid"], state["started"], SIGKILL)
        control.signal_all(state["cgroups"], SIGKILL)
        # A frozen process dies when it is thawed, wherever it was frozen.
        control.thaw_process(state["pid"])
        if not processes.wait_gone(state["pid"], state["started"], 10):
            raise TrimaranError(f"container {id} cannot be deleted", why="its process does not die")
        remove_groups(state)
        warnings = late_hooks(entry, "poststop")
        store.remove(entry)
    return warnings


def pause(store: Store, id: str) -> None:
    """Freeze every process of a running container. Raises Conflict in any other state."""
    _freeze(store, id, "running", True)


def resume(store: Store, id: str) -> None:
    """Undo :func:`pause`. Raises Conflict unless the container is paused."""
    _freeze(store, id, "paused", False)


def update(store: Store, id: str, resources: Resources, schemata: list[str]) -> None:
    """Change limits; what is not named stays. ``schemata`` are lines for the container's resctrl group.

    Raises SpecError, KernelError, Unsupported; Conflict if the container is stopped.
    """
    from trimaran.spec import validate_resources

    validate_resources.check_resources(resources, "$")
    with store.open(id, locked=True) as entry:
        state = entry.read()
        if status(entry, state) == "stopped":
            raise Conflict(f"container {id} cannot be updated", why="it is not running")
        control.update(state["cgroups"], resources)
        groups = state.get("resctrl", [])
        if schemata and not groups:
            raise Conflict(f"container {id} cannot be updated", why="it has no resctrl group of its own")
        for line in schemata:
            control.write(f"{groups[-1]}/schemata", f"{line}\n")


def _freeze(store: Store, id: str, wanted: str, freezing: bool) -> None:
    with store.open(id, locked=True) as entry:
        state = entry.read()
        now = status(entry, state)
        if now != wanted:
            verb = "paused" if freezing else "resumed"
            raise Conflict(f"container {id} cannot be {verb}", why=f"it is {now}, not {wanted}")
        control.freeze(state["cgroups"], freezing)
