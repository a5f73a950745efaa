"""Creating a native container: from a bundle to a first process that waits (runtime.md, "Create")."""

from __future__ import annotations

import os

from trimaran.errors import KernelError, NotFound, PlanError, TrimaranError
from trimaran.linux import files, processes, sockets
from trimaran.plan import wire
from trimaran.runtime import launch, lifecycle, prepare
from trimaran.spec import jsonio, validate
from trimaran.spec.runtime import Config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from trimaran.plan.build import Overlay
    from trimaran.runtime.launch import Launched
    from trimaran.runtime.prepare import Prepared
    from trimaran.runtime.store import Entry, Store


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
    raw = jsonio.parse(data)
    config = Config.parse(raw)
    warnings = validate.check(config)
    if options.listening and config.process:
        config.process.env = [*config.process.env, f"LISTEN_FDS={options.listening}", "LISTEN_PID=1"]
    with store.create(id) as entry:
        try:
            files.write_whole(entry.directory, "config.json", data)
            launched = _make(entry, config, raw, bundle, options, warnings)
        except PlanError as error:
            # runtime.md, "Lifecycle", steps 3 to 5: from a failed hook it goes on to the poststop hooks.
            if error.step == "hook":
                warnings += lifecycle.late_hooks(entry, "poststop")
            undo(store, entry)
            raise
        except BaseException:
            undo(store, entry)
            raise
    return launched, warnings


def _make(
    entry: Entry,
    config: Config,
    raw: dict[str, Any],
    bundle: str,
    options: CreateOptions,
    warnings: list[str],
) -> Launched:
    prepared = prepare.container(entry.id, bundle, config, options)
    warnings += prepared.plan.warnings
    state = new_state(entry, raw, bundle, prepared)
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


def new_state(entry: Entry, config: dict[str, Any], bundle: str, prepared: Prepared) -> dict[str, object]:
    """What is saved of a container, before it has a process; ``config`` is its configuration as JSON."""
    return {
        "ociVersion": config["ociVersion"],
        "id": entry.id,
        "bundle": bundle,
        "rootfs": prepared.rootfs,
        "created": _now(),
        "annotations": config.get("annotations") or {},
        "cgroups": prepared.cgroups,
        "process": config.get("process") is not None,
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
    lifecycle.remove_groups(state)
    store.remove(entry)


def _now() -> str:
    """This instant in RFC 3339, to the microsecond, UTC."""
    import time

    seconds = time.time_ns()
    whole, rest = divmod(seconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{rest // 1000:06d}Z"
