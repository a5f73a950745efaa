"""The OCI life cycle of native containers: create, start, state, kill, delete (runtime.md, "Operations")."""

from __future__ import annotations

import os

from trimaran.errors import Conflict, KernelError, NotFound, PlanError, SpecError, TrimaranError
from trimaran.linux import files, processes, sockets
from trimaran.plan import wire
from trimaran.runtime import hooks, launch, prepare
from trimaran.runtime.cgroups import control
from trimaran.spec import jsonio, validate, validate_resources
from trimaran.spec.runtime import Config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    from trimaran.plan.build import Overlay
    from trimaran.runtime.launch import Launched
    from trimaran.runtime.prepare import Prepared
    from trimaran.runtime.store import Entry, Store
    from trimaran.spec.resources import Resources

    Status = Literal["created", "running", "paused", "stopped"]

OCI_VERSION = "1.3.0"
SIGKILL = 9


class CreateOptions:
    """How a container is to be created, besides its configuration.

    ``stdio``: descriptors of the first process's streams; ``preserve``: how many from 3 on it inherits too;
    ``listening``: how many of these are sockets (sd_listen_fds(3)); ``console_socket``: where the terminal's
    master goes; ``cgroup_manager``: ``cgroupfs``, ``systemd`` or ``disabled``; ``config``: the file in the
    bundle; ``overlay``: the root's layers, instead of ``root.path``.
    """

    def __init__(
        self,
        *,
        stdio: tuple[int, int, int] = (0, 1, 2),
        preserve: int = 0,
        listening: str = "",
        console_socket: str = "",
        pidfd_socket: str = "",
        pid_file: str = "",
        no_pivot: bool = False,
        new_keyring: bool = True,
        cgroup_manager: str = "cgroupfs",
        config: str = "config.json",
        overlay: Overlay | None = None,
    ) -> None:
        self.stdio = stdio
        self.preserve = preserve
        self.listening = listening
        self.console_socket = console_socket
        self.pidfd_socket = pidfd_socket
        self.pid_file = pid_file
        self.no_pivot = no_pivot
        self.new_keyring = new_keyring
        self.cgroup_manager = cgroup_manager
        self.config = config
        self.overlay = overlay


def read_config(bundle: str, name: str = "config.json") -> bytes:
    """The bytes of a bundle's configuration. Raises NotFound, TrimaranError."""
    try:
        directory = os.open(bundle, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NotFound(f"the bundle {bundle} cannot be opened", why=os.strerror(error.errno or 0)) from None
    try:
        return files.read_whole(directory, name, jsonio.MAX_BYTES + 1, follow=True)
    except FileNotFoundError:
        raise NotFound(
            f"the bundle {bundle} has no {name}", hint="trimaran-oci spec writes one to start from"
        ) from None
    except OSError as error:
        raise KernelError("open", error.errno or 0, os.path.join(bundle, name)) from None
    finally:
        os.close(directory)


def create(store: Store, id: str, bundle: str, options: CreateOptions) -> tuple[Launched, list[str]]:
    """Make a container; its first process waits for :func:`start`. Returns it, and warnings.

    All or nothing: when this raises, no trace is left.
    """
    bundle = os.path.abspath(bundle)
    data = read_config(bundle, options.config)
    config = Config.parse(jsonio.parse(data))
    warnings = validate.check(config)
    if options.listening and config.process:
        config.process.env = [*config.process.env, f"LISTEN_FDS={options.listening}", "LISTEN_PID=1"]
    with store.create(id) as entry:
        try:
            files.write_whole(entry.directory, "config.json", data)
            launched = _make(entry, config, bundle, options, warnings)
        except PlanError as error:
            # runtime.md, "Lifecycle", steps 3 to 5: from a failed hook it goes on to the poststop hooks.
            if error.step == "hook":
                warnings += late_hooks(entry, "poststop")
            undo(store, entry)
            raise
        except BaseException:
            undo(store, entry)
            raise
    return launched, warnings


def _make(entry: Entry, config: Config, bundle: str, options: CreateOptions, warnings: list[str]) -> Launched:
    prepared = prepare.container(entry.id, bundle, config, options)
    warnings += prepared.plan.warnings
    state = new_state(entry, config, bundle, prepared)
    # Written before anything is made, so that an interrupted create can be cleaned up by delete.
    entry.write(state)
    listener = sockets.listen(entry.directory, "start")
    try:
        launched = launch.launch(
            prepared.plan,
            wire.encode(prepared.plan),
            stdio=options.stdio,
            listener=listener,
            preserve=options.preserve,
        )
    finally:
        os.close(listener)
    try:
        state["pid"] = launched.pid
        state["started"] = processes.start_time(launched.pid) or 0
        entry.write(state)
        hand_over(launched, options)
    except BaseException:
        launch.discard(launched)
        raise
    return launched


def new_state(entry: Entry, config: Config, bundle: str, prepared: Prepared) -> dict[str, object]:
    """What is saved of a container, before it has a process."""
    return {
        "ociVersion": config.oci_version,
        "id": entry.id,
        "bundle": bundle,
        "rootfs": prepared.rootfs,
        "created": _now(),
        "annotations": config.annotations,
        "cgroups": prepared.cgroups,
        "process": config.process is not None,
        "resctrl": prepared.resctrl,
        "pid": 0,
        "started": 0,
    }


def hand_over(launched: Launched, options: CreateOptions) -> None:
    """Give the caller what it asked for: the terminal, the PID."""
    if options.console_socket and launched.console >= 0:
        try:
            sockets.send_descriptor(options.console_socket, b"/dev/ptmx", launched.console)
        except OSError as error:
            raise KernelError("connect", error.errno or 0, options.console_socket) from None
        os.close(launched.console)
        launched.console = -1
    if options.pidfd_socket:
        pidfd = launched.children[-1]
        try:
            sockets.send_descriptor(options.pidfd_socket, b"pidfd", pidfd)
        except OSError as error:
            raise KernelError("connect", error.errno or 0, options.pidfd_socket) from None
    if options.pid_file:
        write_pid_file(options.pid_file, launched.pid)


def write_pid_file(path: str, pid: int) -> None:
    """Write a PID where the caller wants it; readers never see half of it."""
    directory, _, name = path.rpartition("/")
    try:
        fd = os.open(directory or ("/" if path.startswith("/") else "."), os.O_RDONLY | os.O_DIRECTORY)
        try:
            files.write_whole(fd, name, str(pid).encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise KernelError(
            "write", error.errno or 0, path, message=f"cannot write the pid file {path}"
        ) from None


def undo(store: Store, entry: Entry) -> None:
    """Remove what an unfinished create has made."""
    try:
        state = entry.read()
    except TrimaranError:
        state = {}
    _remove_groups(state)
    store.remove(entry)


def _remove_groups(state: dict[str, Any]) -> None:
    control.remove(state.get("cgroups", []))
    for group in state.get("resctrl", []):
        try:
            os.rmdir(group)
        except FileNotFoundError:
            continue


def _now() -> str:
    """This instant in RFC 3339, to the microsecond, UTC."""
    import time

    seconds = time.time_ns()
    whole, rest = divmod(seconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{rest // 1000:06d}Z"


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
    return launch.explain(None, report)


def late_hooks(entry: Entry, kind: str) -> list[str]:
    """Run the hooks that follow a step, and say which failed; without any, the configuration is not even
    parsed."""
    if b'"' + kind.encode() + b'"' not in entry.config_bytes():
        return []
    config = Config.parse(entry.config())
    wanted = getattr(config.hooks, kind) if config.hooks else []
    return hooks.run_all(wanted, kind, jsonio.dump(oci_state(entry))) if wanted else []


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
        _remove_groups(state)
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
