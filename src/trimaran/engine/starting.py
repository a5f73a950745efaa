"""Starting a container: its configuration, its network, its first process."""

from __future__ import annotations

import os
import time

from trimaran.engine import config, ending, events, files, storage, users
from trimaran.engine.options import Options
from trimaran.errors import Conflict, InvalidInput, TrimaranError
from trimaran.isolation import CreateRequest, Stdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from trimaran.engine.core import Core
    from trimaran.image.model import Image
    from trimaran.isolation import Isolation, Process, Root

_NAMESPACE_FILES = {"network": "net", "pid": "pid", "ipc": "ipc", "uts": "uts"}


class Streams:
    """Where the first process's streams go; by default to the monitor, as the options say.

    ``fds``: descriptors that it is given instead; ``client``: a connection to the monitor from the start;
    ``lease``: a process without which it shall not live; ``size``: of the terminal.
    """

    def __init__(
        self,
        *,
        fds: tuple[int, int, int] | None = None,
        client: int = -1,
        lease: int = 0,
        size: tuple[int, int] = (24, 80),
    ) -> None:
        self.fds = fds
        self.client = client
        self.lease = lease
        self.size = size


DEFAULT_STREAMS = Streams()


def start(core: Core, id: str, streams: Streams = DEFAULT_STREAMS) -> None:
    """Start a created or exited container; returns when its program has been executed.

    Raises Conflict if it runs already, CommandNotFound, CommandNotExecutable, PlanError, NetworkError.
    """
    with core.database.write():
        record = core.containers.find(id)
        if not core.containers.transition(
            id, ("created", "exited"), state="starting", boot=core.boot, stopped=0
        ):
            raise Conflict(f"container {record.name} cannot be started", why=f"it is {record.state}")
        core.database.announce("container.start", id)
    image = core.images.get(record.image_digest)
    run(core, id, image, Options(record.options), core.snapshots.root(id), streams, first=not record.started)


def run(
    core: Core, id: str, image: Image, options: Options, root: Root, streams: Streams, *, first: bool = True
) -> None:
    """Start a container whose row says ``starting``; undoes everything if that fails."""
    try:
        pid = _Start(core, id, image, options, root, streams).run()
    except BaseException as error:
        code = error.exit_code if isinstance(error, TrimaranError) else 125
        state = "created" if first else "exited"
        with core.database.write():
            core.containers.change(id, state=state, exit_code=code, error=str(error), pid=0)
            _withdraw(core, id)
        raise
    with core.database.write() as connection:
        now = time.time_ns()
        core.containers.change(
            id, state="running", pid=pid, started=now, finished=0, exit_code=0, oom=0, error=""
        )
        _withdraw(core, id)
        events.record(connection, "container", "start", id, {})


def _withdraw(core: Core, id: str) -> None:
    core.database.connection().execute(
        "DELETE FROM intent WHERE kind = 'container.start' AND subject = ?", (id,)
    )


class _Start:
    """One attempt to start one container."""

    def __init__(
        self, core: Core, id: str, image: Image, options: Options, root: Root, streams: Streams
    ) -> None:
        self.core = core
        self.id = id
        self.image = image
        self.options = options
        self.root = root
        self.streams = streams
        self.directory = core.paths.container(id)
        self.record = core.containers.find(id)
        self.hull: Isolation = core.isolations.get(options.isolation)
        self.networked = ending.has_network(options)

    def run(self) -> int:
        """The PID of the first process."""
        ending.clear_state(self.core, self.id)
        state = self.core.paths.state(self.id)
        os.mkdir(state, 0o700)
        try:
            if self.networked:
                files.make_empty(self.directory)
            else:
                self._write_files(files.NoNetwork())
            process = self._create(state)
            if self.networked:
                self._connect(process)
                self.hull.start(self.id)
        except BaseException as error:
            self._undo(error)
            raise
        return process.pid

    def _create(self, state: str) -> Process:
        requests = storage.load(self.record.mounts)
        if not requests:
            process = self.hull.create(self._request(state, []))
        else:
            with storage.prepare(self.core, requests, self.image, self.options.isolation) as prepared:
                process = self.hull.create(self._request(state, prepared.mounts))
        self.core.adopt(self.id, process)
        return process

    def _undo(self, error: BaseException) -> None:
        try:
            ending.clear(self.core, self.record, force=True)
            ending.clear_state(self.core, self.id)
        except TrimaranError as second:
            error.add_note(f"undoing it failed too: {second}")

    def _request(self, state: str, mounts: list[dict[str, Any]]) -> CreateRequest:
        return CreateRequest(
            id=self.id,
            bundle=self.directory,
            config=self._config(mounts),
            root=self.root,
            state=state,
            stdio=self._stdio(),
            start=not self.networked,
            durable=self.options.durable,
        )

    @property
    def hostname(self) -> str:
        return self.options.hostname or self.id[:12]

    def _config(self, mounts: list[dict[str, Any]]) -> dict[str, Any]:
        options = self.options
        taken = {mount["destination"] for mount in mounts}
        joins = self._joins()
        if joins.get("uts") != "host":
            options.hostname = self.hostname
        seccomp, annotations = self._seccomp()
        inputs = config.Inputs(
            id=self.id,
            image=self.image.run_config,
            command=self.record.command,
            user=self._user(),
            binds=[*files.binds(self.directory, taken), *mounts],
            joins=joins,
            seccomp=seccomp,
            annotations=annotations,
            devices=devices(options),
            cgroups_path=f"{options.cgroup_parent or '/trimaran'}/{self.id}",
        )
        return config.generate(inputs, options)

    def _user(self) -> users.User:
        options = self.options
        text = options.user or self.image.run_config.get("User") or ""
        if not text and not options.group_add:
            return users.User()
        passwd = files.read_in_root(self.root, "etc/passwd")
        return users.resolve(text, options.group_add, passwd, files.read_in_root(self.root, "etc/group"))

    def _seccomp(self) -> tuple[dict[str, Any] | None, dict[str, str]]:
        """The system call filter: a profile in full, or an annotation that asks the hull for the default."""
        chosen = [
            entry.split("=", 1)[1] for entry in self.options.security_opt if entry.startswith("seccomp=")
        ]
        if self.options.privileged or "unconfined" in chosen:
            return None, {}
        if chosen:
            return _read_profile(chosen[-1]), {}
        return None, {"trimaran.seccomp": "default"}

    def _joins(self) -> dict[str, str]:
        """Which namespaces are others': the host's, or those of a running container."""
        options = self.options
        if options.networks != ["none"]:
            from trimaran.network.parse import parse_mode

            parse_mode(options.networks)
        wanted = {
            "network": options.networks[0] if options.networks else "",
            "pid": options.pid,
            "ipc": options.ipc,
            "uts": options.uts,
            "cgroup": options.cgroupns,
        }
        found = {}
        for kind, value in wanted.items():
            if value == "host":
                found[kind] = "host"
            elif value.startswith("ns:") and kind == "network":
                found[kind] = value.removeprefix("ns:")
            elif _joins(value):
                found[kind] = self._namespace_of(value.partition(":")[2], kind)
        return found

    def _namespace_of(self, name: str, kind: str) -> str:
        other = ending.refresh(self.core, self.core.containers.find(name))
        if other.state not in ("running", "paused") or not other.pid:
            raise Conflict(f"cannot join container {name}", why=f"it is {other.state}", hint="start it first")
        return f"/proc/{other.pid}/ns/{_NAMESPACE_FILES[kind]}"

    def _stdio(self) -> Stdio:
        options, streams = self.options, self.streams
        if streams.fds:
            return Stdio("pass", fds=streams.fds, lease=streams.lease)
        target, size, count = log_target(options, self.directory)
        once = not options.tty and streams.client >= 0
        return Stdio(
            "terminal" if options.tty else "pipes",
            ("once" if once else "open") if options.interactive else "closed",
            log=target,
            log_size=size,
            log_files=count,
            size=streams.size,
            client=streams.client,
            lease=streams.lease,
        )

    def _connect(self, process: Process) -> None:
        from trimaran.engine import networking

        namespace = os.open(f"/proc/{process.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            result = networking.attach(
                self.core, self.id, namespace, self.options, self.hostname, self.image.run_config
            )
        finally:
            os.close(namespace)
        self._write_files(result)

    def _write_files(self, network: Any) -> None:
        shares = self.options.networks[:1] == ["host"]
        files.write(self.directory, self.options, self.hostname, network, shares_host=shares)


def _joins(value: str) -> bool:
    return value.startswith("container:")


def log_target(options: Options, directory: str) -> tuple[str, int, int]:
    """Where the monitor logs to, how large a file may get, and how many there are."""
    from trimaran.engine.sizes import parse_size

    driver = {"json-file": "json", "local": "cri", "k8s-file": "cri"}.get(
        options.log_driver, options.log_driver
    )
    if driver == "none":
        return "none", 0, 1
    if driver not in ("cri", "json"):
        raise InvalidInput(f"there is no log driver '{options.log_driver}'", hint="cri, json-file or none")
    known = {"max-size": "0", "max-file": "5", **options.log_opts}
    return f"{driver}:{directory}/container.log", parse_size(known["max-size"]), int(known["max-file"])


def devices(options: Options) -> list[dict[str, Any]]:
    """``--device HOST[:CONTAINER[:ACCESS]]`` as OCI devices, and all of the host's where privileged."""
    from trimaran.engine import devices as lookup

    return lookup.find(options)


def _read_profile(path: str) -> dict[str, Any]:
    from trimaran.spec import jsonio

    try:
        with open(path, "rb") as file:
            profile: dict[str, Any] = jsonio.parse(file.read())
    except OSError as error:
        raise InvalidInput(f"the seccomp profile {path} cannot be read", why=str(error.strerror)) from error
    return profile
