"""The sandbox hull behind the contract of :mod:`trimaran.isolation`.

Each container has a directory below ``root``::

    container.json     the monitor's state directory and what else the hull must remember
    sandbox.json       for the supervisor: what to make
    sock               the supervisor's socket
    supervisor.log     what it had to say: calls that it lacks, denials, faults
    start              there until the container is started

``options`` of a request: ``sandbox.network`` (``none``, ``host``; without it the OCI network namespace
decides), ``sandbox.rules`` (a network policy: rules separated by commas, see
:func:`trimaran.sandbox.kernel.socket.policy.parse_rules`), ``sandbox.durable`` (``yes``: fsync reaches the
disk), ``sandbox.program`` (a Python file with hooks, see :mod:`trimaran.sandbox.supervisor.program`).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from typing import Any

from trimaran.errors import Conflict, GuestError, InvalidInput, NotFound, TrimaranError, Unsupported
from trimaran.isolation import CreateRequest, ExecRequest, Process, Stats, Status, Stdio
from trimaran.linux import files
from trimaran.monitor import Control, launch
from trimaran.monitor.launch import failure
from trimaran.sandbox import translate
from trimaran.sandbox.client import SOCKET, Supervisor

STATE_FD = 5
LINK = "sandbox.sock"
"""The monitor goes to the socket by its state directory: a socket's path has 107 bytes at most."""
STATS = frozenset(field for field in Stats.__dataclass_fields__ if field != "extra")


class SandboxIsolation:
    """Containers under a user-space kernel; their state below ``root``."""

    name = "sandbox"

    def __init__(self, root: str) -> None:
        self.root = root
        os.makedirs(root, mode=0o700, exist_ok=True)

    def create(self, request: CreateRequest) -> Process:
        """See :class:`trimaran.isolation.Isolation`."""
        translate.launch(request.config["process"])
        translate.places(request.config)
        directory = self._directory(request.id)
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:
            raise Conflict(f"container {request.id} exists already") from None
        try:
            return self._create(request, directory)
        except BaseException:
            self._remove(directory)
            raise

    def _create(self, request: CreateRequest, directory: str) -> Process:
        root = request.root
        order = {
            "id": request.id,
            "config": {**request.config, "process": _sized(request.config["process"], request.stdio)},
            "options": dict(request.options),
            "root": {"path": root.path, "lower": list(root.lower), "upper": root.upper},
        }
        if root.path and not os.path.isabs(root.path):
            order["root"]["path"] = os.path.join(request.bundle, root.path)  # type: ignore[index]
        _write(directory, "container.json", {"id": request.id, "monitor": request.state})
        _write(directory, "sandbox.json", order)
        Supervisor(directory).launch()
        if not request.start:
            _write(directory, "start", None)
        return self._launch(directory, request, request.id, f"container {request.id}", start=request.start)

    def _launch(
        self, directory: str, request: CreateRequest | ExecRequest, name: str, order: str, *, start: bool
    ) -> Process:
        """Start the monitor that is connected to the supervisor."""
        link = os.path.join(request.state, LINK)
        if not os.path.lexists(link):
            os.symlink(os.path.join(directory, SOCKET), link)
        launched = launch(
            id=name,
            mode="connect",
            state=request.state,
            stdio=request.stdio,
            start=start,
            durable=getattr(request, "durable", False),
            extra=[("socket", f"/proc/self/fd/{STATE_FD}/{LINK}"), ("request", order)],
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
        try:
            os.unlink(os.path.join(self._directory(id), "start"))
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
        translate.launch(request.process)
        status = self.status(id)
        if status != "running":
            raise Conflict(f"cannot execute in container {id}", why=f"it is {status}")
        directory = self._directory(id)
        name = f"exec-{request.exec_id}.json"
        _write(directory, name, _sized(request.process, request.stdio))
        try:
            order = f"exec {request.exec_id}"
            return self._launch(directory, request, f"{id}/{request.exec_id}", order, start=True)
        finally:
            os.unlink(os.path.join(directory, name))

    def kill(self, id: str, signal: int, *, all: bool = False) -> None:
        """See :class:`trimaran.isolation.Isolation`."""
        if not 0 <= signal <= 64:
            raise InvalidInput(f"no signal {signal}")
        if self.status(id) == "stopped":
            raise Conflict(f"container {id} is stopped")
        self._ask(id, "kill", signal=signal, all=all)

    def pause(self, id: str) -> None:
        """See :class:`trimaran.isolation.Isolation`. Every process is stopped (SIGSTOP)."""
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
        """See :class:`trimaran.isolation.Isolation`. A container whose supervisor is gone is stopped."""
        self._record(id)
        if not Supervisor(self._directory(id)).alive():
            return "stopped"
        try:
            status: Status = self._ask(id, "status")
        except GuestError:  # it ended while it was asked
            return "stopped"
        return status

    def processes(self, id: str) -> list[int]:
        """See :class:`trimaran.isolation.Isolation`."""
        if self.status(id) == "stopped":
            return []
        return [int(pid) for pid in self._ask(id, "processes")]

    def stats(self, id: str) -> Stats:
        """See :class:`trimaran.isolation.Isolation`. ``extra`` has the calls, by name, and the denials."""
        if self.status(id) == "stopped":
            return Stats()
        found: dict[str, Any] = self._ask(id, "stats")
        known = {key: value for key, value in found.items() if key in STATS}
        return Stats(**known, extra={key: value for key, value in found.items() if key not in STATS})

    def update(self, id: str, resources: Mapping[str, Any]) -> None:
        """See :class:`trimaran.isolation.Isolation`: memory and the number of tasks."""
        if self.status(id) == "stopped":
            raise Conflict(f"container {id} is stopped")
        self._ask(id, "update", resources=resources)

    def checkpoint(self, id: str, directory: str, *, leave_running: bool = False) -> None:
        """Not there."""
        raise Unsupported("sandboxes cannot be checkpointed", hint="use the native hull, with CRIU")

    def restore(self, request: CreateRequest, directory: str) -> Process:
        """Not there, as :meth:`checkpoint`."""
        raise Unsupported("sandboxes cannot be restored", hint="use the native hull, with CRIU")

    def delete(self, id: str, *, force: bool = False) -> None:
        """See :class:`trimaran.isolation.Isolation`."""
        directory = self._directory(id)
        if not os.path.isdir(directory):
            return
        try:
            status = self.status(id)
        except NotFound:  # its creation was interrupted
            status = "stopped"
        if status != "stopped" and not force:
            raise Conflict(f"container {id} is {status}", hint="stop it first, or delete it by force")
        self._remove(directory)

    def _remove(self, directory: str) -> None:
        Supervisor(directory).stop()
        shutil.rmtree(directory, ignore_errors=True)

    def _ask(self, id: str, name: str, **arguments: Any) -> Any:
        return Supervisor(self._directory(id)).ask(name, **arguments)

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


def _sized(process: Mapping[str, Any], stdio: Stdio) -> dict[str, Any]:
    """The process object, with the terminal's size as the caller's terminal has it."""
    rows, columns = stdio.size
    return {"consoleSize": {"height": rows, "width": columns}, **process}


def _check_id(id: str) -> None:
    if not id or len(id) > 128 or id.startswith(".") or not all(c.isalnum() or c in "_.-+" for c in id):
        raise InvalidInput(f"{id[:40]!r} is no id", hint="use letters, digits and _.-+, at most 128")


def _write(directory: str, name: str, value: Any) -> None:
    fd = os.open(directory, os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        files.write_whole(fd, name, json.dumps(value).encode())
    finally:
        os.close(fd)
