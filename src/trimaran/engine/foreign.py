"""The hull ``oci:PROGRAM``: containers of a foreign OCI runtime, such as runc, crun or runsc.

https://github.com/opencontainers/runtime-spec/blob/main/runtime.md and the command line that they share.
The monitor starts ``PROGRAM create`` and adopts the container's first process. What a container is made
of is kept below the hull's directory: ``ID/bundle`` with its config.json, and its root mounted on
``ID/bundle/rootfs`` for as long as it exists.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

from trimaran.errors import (
    CommandNotExecutable,
    CommandNotFound,
    Conflict,
    GuestError,
    NotFound,
    TrimaranError,
    Unsupported,
)
from trimaran.isolation import CreateRequest, ExecRequest, Process, Root, Stats, Status
from trimaran.linux import mounts
from trimaran.linux._sys import umount
from trimaran.monitor import launch
from trimaran.monitor.control import Control

_MNT_DETACH = 2
_SECONDS = 60
_OVERLAY = ("redirect_dir=off", "metacopy=off", "index=off")


class ForeignIsolation:
    """See :class:`trimaran.isolation.Isolation`. ``root`` is the hull's, ``program`` the runtime."""

    def __init__(self, root: str, program: str) -> None:
        found = shutil.which(program)
        if found is None:
            raise NotFound(f"there is no program {program}", hint="install the runtime, or give its path")
        self.name = f"oci:{program}"
        self._program = found
        self._directory = os.path.join(root, os.path.basename(found))
        self._states = os.path.join(self._directory, "state")
        os.makedirs(self._states, 0o700, exist_ok=True)

    def create(self, request: CreateRequest) -> Process:
        own = self._own(request.id)
        try:
            os.makedirs(f"{own}/bundle/rootfs", 0o700)
        except FileExistsError:
            raise Conflict(f"container {request.id} exists already") from None
        try:
            if request.root.path is None:
                _mount_layers(request.root, f"{own}/bundle/rootfs")
            rootfs = request.root.path or f"{own}/bundle/rootfs"
            _write(f"{own}/bundle/config.json", _completed(request.config, rootfs))
            _write(f"{own}/monitor", {"state": request.state})
            process = self._launch(request, own)
            if request.start:
                self.start(request.id)
        except BaseException:
            self.delete(request.id, force=True)
            raise
        return process

    def _launch(self, request: CreateRequest, own: str) -> Process:
        words = ["create", "--bundle", f"{own}/bundle", "--pid-file", f"{own}/pid"]
        if request.stdio.mode == "terminal":
            words += ["--console-socket", f"{request.state}/console"]
        launched = launch(
            id=request.id,
            mode="command",
            state=request.state,
            stdio=request.stdio,
            start=request.start,
            durable=request.durable,
            extra=[
                *(("arg", word) for word in self._command(f"{own}/log", *words, request.id)),
                ("env", f"PATH={os.environ.get('PATH', os.defpath)}"),
                ("pid-file", f"{own}/pid"),
                *([("console-socket", "console")] if request.stdio.mode == "terminal" else []),
            ],
        )
        try:
            pid = launched.wait_created()
        except GuestError as error:
            launched.reap(True)
            raise _failure(f"{own}/log", str(error)) from None
        finally:
            launched.close()
        return Process(pid, launched.pid, launched.pidfd)

    def start(self, id: str) -> None:
        state = self._state(id)
        if state != "created":
            raise Conflict(f"container {id} cannot be started", why=f"it is {state}")
        self._run(id, "start", id)
        with open(f"{self._own(id)}/monitor", encoding="utf-8") as file:
            directory = json.load(file)["state"]
        try:
            with Control(directory) as control:
                control.command("start")
        except TrimaranError:
            # It was to start at once, or has ended already: the monitor knows both.
            return

    def exec(self, id: str, request: ExecRequest) -> Process:
        own = self._own(id)
        if self._state(id) != "running":
            raise Conflict(f"nothing can be executed in container {id}", why="it does not run")
        _write(f"{request.state}/process.json", dict(request.process))
        pid_file = f"{request.state}/pid"
        words = ["exec", "--process", f"{request.state}/process.json", "--detach", "--pid-file", pid_file]
        if request.stdio.mode == "terminal":
            words += ["--console-socket", f"{request.state}/console"]
        launched = launch(
            id=f"{id}/{request.exec_id}",
            mode="command",
            state=request.state,
            stdio=request.stdio,
            start=True,
            extra=[
                *(("arg", word) for word in self._command(f"{own}/log", *words, id)),
                ("env", f"PATH={os.environ.get('PATH', os.defpath)}"),
                ("pid-file", pid_file),
                *([("console-socket", "console")] if request.stdio.mode == "terminal" else []),
            ],
        )
        try:
            pid = launched.wait_created()
        except GuestError as error:
            launched.reap(True)
            raise _failure(f"{own}/log", str(error)) from None
        finally:
            launched.close()
        return Process(pid, launched.pid, launched.pidfd)

    def kill(self, id: str, signal: int, *, all: bool = False) -> None:
        if self._state(id) == "stopped":
            raise Conflict(f"container {id} cannot be signalled", why="it is stopped")
        if not all:
            self._run(id, "kill", id, str(signal))
            return
        for pid in self.processes(id):
            try:
                os.kill(pid, signal)
            except ProcessLookupError:
                continue

    def pause(self, id: str) -> None:
        self._expect(id, "running", "pause")
        self._run(id, "pause", id)

    def resume(self, id: str) -> None:
        self._expect(id, "paused", "resume")
        self._run(id, "resume", id)

    def _expect(self, id: str, wanted: str, verb: str) -> None:
        state = self._state(id)
        if state != wanted:
            raise Conflict(f"cannot {verb} container {id}", why=f"it is {state}, not {wanted}")

    def status(self, id: str) -> Status:
        return self._state(id)

    def processes(self, id: str) -> list[int]:
        if self._state(id) == "stopped":
            return []
        found = json.loads(self._run(id, "ps", "--format", "json", id) or "[]")
        return [int(entry["PID"] if isinstance(entry, dict) else entry) for entry in found or []]

    def stats(self, id: str) -> Stats:
        data = json.loads(self._run(id, "events", "--stats", id))["data"]
        cpu, memory, pids = data.get("cpu", {}), data.get("memory", {}), data.get("pids", {})
        usage = cpu.get("usage", {})
        return Stats(
            cpu_ns=usage.get("total", 0),
            cpu_user_ns=usage.get("user", 0),
            cpu_system_ns=usage.get("kernel", 0),
            memory=memory.get("usage", {}).get("usage", 0),
            pids=pids.get("current", 0),
        )

    def update(self, id: str, resources: Mapping[str, Any]) -> None:
        self._state(id)
        self._run(id, "update", "--resources", "-", id, text=json.dumps(dict(resources)))

    def checkpoint(self, id: str, directory: str, *, leave_running: bool = False) -> None:
        raise Unsupported(f"{self.name} containers cannot be checkpointed")

    def restore(self, request: CreateRequest, directory: str) -> Process:
        raise Unsupported(f"{self.name} containers cannot be restored")

    def delete(self, id: str, *, force: bool = False) -> None:
        own = self._own(id)
        if not os.path.isdir(own):
            return
        try:
            state = self._state(id)
        except NotFound:
            state = "stopped"
        if state != "stopped" and not force:
            raise Conflict(f"container {id} cannot be deleted", why=f"it is {state}")
        self._call(id, "delete", "--force", id)
        try:
            umount(os.fsencode(f"{own}/bundle/rootfs"), _MNT_DETACH)
        except OSError:
            # Nothing was mounted there (any longer).
            pass
        shutil.rmtree(own)

    def _own(self, id: str) -> str:
        if not id or "/" in id or id in (".", ".."):
            raise NotFound(f"'{id[:64]}' is no container's id")
        return os.path.join(self._directory, id)

    def _state(self, id: str) -> Status:
        if not os.path.isdir(self._own(id)):
            raise NotFound(f"no container {id}")
        done = self._call(id, "state", id)
        if done.returncode:
            raise NotFound(f"no container {id}", why=done.stderr.strip().rpartition("\n")[2])
        status: Status = json.loads(done.stdout)["status"]
        return status

    def _command(self, log: str, *words: str) -> list[str]:
        return [self._program, "--root", self._states, "--log", log, "--log-format", "json", *words]

    def _call(self, id: str, *words: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._command(f"{self._own(id)}/log", *words),
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )

    def _run(self, id: str, *words: str, text: str | None = None) -> str:
        done = self._call(id, *words, text=text)
        if done.returncode:
            raise _failure(f"{self._own(id)}/log", done.stderr.strip().rpartition("\n")[2])
        return done.stdout


def _completed(config: Mapping[str, Any], rootfs: str) -> dict[str, Any]:
    """The configuration with its root's place, and the default filter spelt out where it is asked for."""
    document = {**config, "root": {**config.get("root", {}), "path": rootfs}}
    annotations = dict(document.get("annotations") or {})
    if annotations.pop("trimaran.seccomp", "") == "default" and "seccomp" not in document["linux"]:
        from trimaran.spec.seccomp_default import default_profile

        bounding = document["process"].get("capabilities", {}).get("bounding", [])
        profile = default_profile(os.uname().machine, bounding).to_json()
        document["linux"] = {**document["linux"], "seccomp": profile}
    document["annotations"] = annotations
    return document


def _mount_layers(root: Root, target: str) -> None:
    """Put the container's layers where the runtime expects its root."""
    mount = mounts.overlay(list(root.lower), root.upper, root.work, _OVERLAY)
    try:
        mounts.attach(mount, target)
    finally:
        os.close(mount)


def _write(path: str, document: dict[str, Any]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file)


def _failure(log: str, fallback: str) -> TrimaranError:
    """The last error in the runtime's log, in our own tree."""
    said = fallback
    try:
        with open(log, encoding="utf-8", errors="replace") as file:
            for line in file:
                entry = json.loads(line)
                if entry.get("level") == "error":
                    said = entry["msg"]
    except (OSError, ValueError, KeyError):
        # No log, or not one that was agreed: what the program printed has to do.
        pass
    if "executable file" in said or ("no such file or directory" in said and "exec" in said):
        return CommandNotFound("the runtime cannot execute the program", why=said)
    if "permission denied" in said and "exec" in said:
        return CommandNotExecutable("the runtime cannot execute the program", why=said)
    return GuestError("the runtime failed", why=said)
