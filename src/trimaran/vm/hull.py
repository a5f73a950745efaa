"""The vm hull behind the contract of :mod:`trimaran.isolation`: a container in a microVM of its own.

Each container has a directory below ``root``::

    container.json      what was asked for; ``machine`` names the directory of the machine it is in
    machine.json        of a machine: kernel, memory, disks
    container-ID.json   for the keeper: what to make
    sock, keeper.log    the keeper's socket, and what it had to say

A machine's keeper (:mod:`trimaran.vm.keeper`) is a process that nobody waits for: it ends with its
containers. The container's monitor is connected to it.

``options`` of a request: ``vm.memory`` (bytes), ``vm.cpus``, ``vm.kernel`` (path), ``vm.hypervisor``,
``vm.template`` (``yes``: start from a template, made when it is first wanted; also by the environment's
``TRIMARAN_VM_TEMPLATE``), ``vm.disk`` (bytes of the writable disk; without it, changes are in the guest's
memory), ``vm.layers`` (``images`` or ``shared``), ``vm.machine`` (id of a container whose machine this one
joins), ``vm.keep`` (``yes``: the machine goes on without containers, as a pod's does).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from typing import Any

from trimaran.errors import Conflict, GuestError, InvalidInput, NotFound, TrimaranError, Unsupported
from trimaran.isolation import CreateRequest, ExecRequest, Process, Stats, Status
from trimaran.linux import _sys, files, processes
from trimaran.monitor import Control, launch
from trimaran.monitor.launch import failure
from trimaran.vm import stats as guest_stats
from trimaran.vm.keeper.client import KEEPER_PID, SOCKET, Machine, ask
from trimaran.vm.request import machine_record, root_record

_MONITOR_STATE_FD = 5
_LINK = "machine.sock"
_UP_SECONDS = 30.0
_LAUNCHER = (
    "import sys; sys.path[:] = sys.argv.pop(1).split(':'); from trimaran.vm.keeper.main import main; main()"
)


class VmIsolation:
    """Containers in microVMs; their state below ``root``, images and templates in the cache directory."""

    name = "vm"

    def __init__(self, root: str, cache: str | None = None) -> None:
        from trimaran.vm.guest.kernel import cache_directory

        self.root = root
        self.cache = cache or cache_directory()
        os.makedirs(root, mode=0o700, exist_ok=True)

    def create(self, request: CreateRequest) -> Process:
        """See :class:`trimaran.isolation.Isolation`. Raises also :class:`GuestError` if no guest boots."""
        directory = self._directory(request.id)
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:
            raise Conflict(f"container {request.id} exists already") from None
        try:
            return self._create(request, directory)
        except BaseException:
            self._remove(request.id, directory)
            raise

    def _create(self, request: CreateRequest, directory: str) -> Process:
        machine = self._joined(request) or directory
        record: dict[str, Any] = {"id": request.id, "machine": machine, "monitor": request.state}
        root = root_record(request, self.cache, directory, joined=machine != directory)
        _write(directory, "container.json", record)
        if machine == directory:
            _write(directory, "machine.json", machine_record(request, root, self.cache))
            self._start_keeper(directory)
        order = {"id": request.id, "bundle": request.bundle, "config": request.config, "root": root}
        _write(machine, f"container-{request.id}.json", order)
        if not request.start:
            _write(directory, "start", None)
        return self._launch(machine, request, request.id, f"container {request.id}", start=request.start)

    def _joined(self, request: CreateRequest) -> str | None:
        other = request.options.get("vm.machine")
        return self._machine(other).directory if other else None

    def _start_keeper(self, directory: str) -> None:
        """Start the process that keeps the machine, and wait until its socket is there."""
        log = os.open(f"{directory}/keeper.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        executable = os.open(sys.executable, os.O_PATH | os.O_CLOEXEC)
        up, up_end = os.pipe()
        path = ":".join(entry for entry in sys.path if entry)
        words = [sys.executable, "-I", "-S", "-c", _LAUNCHER, path, directory]
        environment = [f"{key}={value}" for key, value in os.environ.items() if key.startswith("TRIMARAN_")]
        environment += ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"]
        try:
            pid, pidfd = _sys.spawn(
                executable,
                [os.fsencode(word) for word in words],
                [os.fsencode(word) for word in environment],
                [null, log, log, up_end],
                new_session=True,
            )
        finally:
            for fd in (log, null, executable, up_end):
                os.close(fd)
        os.close(pidfd)
        _write(directory, KEEPER_PID, {"pid": pid, "started": processes.start_time(pid) or 0})
        with open(up, "rb", buffering=0) as pipe:
            pipe.read()
        if not os.path.exists(os.path.join(directory, SOCKET)):
            raise GuestError("the machine's keeper did not start", why=_tail(f"{directory}/keeper.log"))

    def _launch(
        self, machine: str, request: CreateRequest | ExecRequest, name: str, order: str, *, start: bool
    ) -> Process:
        """Start the monitor that is connected to the keeper."""
        # A socket's path may have 107 bytes only: the monitor goes by its state directory's descriptor.
        link = os.path.join(request.state, _LINK)
        if not os.path.lexists(link):
            os.symlink(os.path.join(machine, SOCKET), link)
        launched = launch(
            id=name,
            mode="connect",
            state=request.state,
            stdio=request.stdio,
            start=start,
            durable=getattr(request, "durable", False),
            extra=[("socket", f"/proc/self/fd/{_MONITOR_STATE_FD}/{_LINK}"), ("request", order)],
        )
        try:
            pid = launched.wait_created()
            if start:
                launched.wait_started()
        except TrimaranError:
            launched.close()
            launched.reap(True)
            raise
        launched.close()
        return Process(pid, launched.pid, launched.pidfd)

    def start(self, id: str) -> None:
        """See :class:`trimaran.isolation.Isolation`."""
        record = self._record(id)
        marker = os.path.join(self._directory(id), "start")
        try:
            os.unlink(marker)
        except FileNotFoundError:
            raise Conflict(f"container {id} cannot be started", why=f"it is {self.status(id)}") from None
        with Control(record["monitor"]) as control:
            control.start()
            for output in control.events():
                if output.kind == "error":
                    raise failure(output.words)
                if output.kind in ("started", "exited"):
                    return

    def exec(self, id: str, request: ExecRequest) -> Process:
        """See :class:`trimaran.isolation.Isolation`."""
        _check_id(request.exec_id)
        status = self.status(id)
        if status not in ("created", "running"):
            raise Conflict(f"cannot execute in container {id}", why=f"it is {status}")
        machine = self._machine(id).directory
        name = f"exec-{request.exec_id}.json"
        _write(machine, name, {"process": request.process})
        try:
            order = f"exec {id} {request.exec_id}"
            return self._launch(machine, request, f"{id}/{request.exec_id}", order, start=True)
        finally:
            os.unlink(os.path.join(machine, name))

    def kill(self, id: str, signal: int, *, all: bool = False) -> None:
        """See :class:`trimaran.isolation.Isolation`."""
        if not 0 <= signal <= 64:
            raise InvalidInput(f"no signal {signal}")
        status = self.status(id)
        if status == "stopped":
            raise Conflict(f"container {id} is stopped")
        self._ask(id, "kill", signal=signal, all=all)

    def pause(self, id: str) -> None:
        """See :class:`trimaran.isolation.Isolation`."""
        self._require(id, "running", "pause")
        self._ask(id, "pause")

    def resume(self, id: str) -> None:
        """See :class:`trimaran.isolation.Isolation`."""
        self._require(id, "paused", "resume")
        self._ask(id, "resume")

    def _require(self, id: str, wanted: str, verb: str) -> None:
        status = self.status(id)
        if status != wanted:
            raise Conflict(f"cannot {verb} container {id}", why=f"it is {status}")

    def status(self, id: str) -> Status:
        """See :class:`trimaran.isolation.Isolation`. A machine that is gone has no running container."""
        self._record(id)
        if not self._machine(id).alive():
            return "stopped"
        try:
            status: Status = self._ask(id, "status")
        except (NotFound, GuestError):  # the machine ended while it was asked
            return "stopped"
        return status

    def processes(self, id: str) -> list[int]:
        """See :class:`trimaran.isolation.Isolation`: these are the guest's PIDs."""
        if self.status(id) == "stopped":
            return []
        return [int(pid) for pid in self._ask(id, "processes")]

    def stats(self, id: str) -> Stats:
        """See :class:`trimaran.isolation.Isolation`."""
        if self.status(id) == "stopped":
            return Stats()
        return guest_stats.parse(self._ask(id, "stats"))

    def update(self, id: str, resources: Mapping[str, Any]) -> None:
        """See :class:`trimaran.isolation.Isolation`. A machine's own memory does not grow."""
        if self.status(id) == "stopped":
            raise Conflict(f"container {id} is stopped")
        self._ask(id, "update", resources=resources)

    def checkpoint(self, id: str, directory: str, *, leave_running: bool = False) -> None:
        """Not there for containers; machines have snapshots (:mod:`trimaran.vm.pool`)."""
        raise Unsupported("containers in microVMs cannot be checkpointed yet")

    def restore(self, request: CreateRequest, directory: str) -> Process:
        """Not there, as :meth:`checkpoint`."""
        raise Unsupported("containers in microVMs cannot be restored yet")

    def delete(self, id: str, *, force: bool = False) -> None:
        """See :class:`trimaran.isolation.Isolation`."""
        directory = self._directory(id)
        if not os.path.isdir(directory):
            return
        try:
            status = self.status(id)
        except NotFound:  # its creation was interrupted
            status = "stopped"
        if status not in ("stopped", "creating") and not force:
            raise Conflict(f"container {id} is {status}", hint="stop it first, or delete it by force")
        self._remove(id, directory)

    def _remove(self, id: str, directory: str) -> None:
        """Take a container out of its machine, or its machine down with it."""
        machine = self._machine_of(directory)
        if machine.directory == directory:
            machine.stop()
        elif machine.alive():
            try:
                ask(machine.directory, "delete", id=id)
            except (NotFound, GuestError):  # it was never made, or the machine has ended
                pass
        shutil.rmtree(directory, ignore_errors=True)

    def _machine_of(self, directory: str) -> Machine:
        try:
            return self._machine(os.path.basename(directory))
        except NotFound:  # its creation was interrupted
            return Machine(directory)

    def _machine(self, id: str) -> Machine:
        return Machine(self._record(id)["machine"])

    def _ask(self, id: str, name: str, **arguments: Any) -> Any:
        return ask(self._machine(id).directory, name, id=id, **arguments)

    def _record(self, id: str) -> dict[str, Any]:
        try:
            with open(os.path.join(self._directory(id), "container.json"), encoding="utf-8") as file:
                record: dict[str, Any] = json.load(file)
                return record
        except FileNotFoundError:
            raise NotFound(f"no container {id}") from None

    def _directory(self, id: str) -> str:
        _check_id(id)
        return os.path.join(self.root, id)


def _check_id(id: str) -> None:
    if not id or len(id) > 128 or id.startswith(".") or not all(c.isalnum() or c in "_.-+" for c in id):
        raise InvalidInput(f"{id[:40]!r} is no id", hint="use letters, digits and _.-+, at most 128")


def _write(directory: str, name: str, value: Any) -> None:
    fd = _open(directory)
    try:
        files.write_whole(fd, name, json.dumps(value).encode())
    finally:
        os.close(fd)


def _open(directory: str) -> int:
    return os.open(directory, os.O_DIRECTORY | os.O_CLOEXEC)


def _tail(path: str) -> str:
    with open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 500))
        return file.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
