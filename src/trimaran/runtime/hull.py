"""The native hull behind the contract of :mod:`trimaran.isolation`: containers watched by the monitor."""

from __future__ import annotations

import os

from trimaran.errors import Conflict, NotFound, PlanError, TrimaranError, Unsupported
from trimaran.isolation import Process, Stats
from trimaran.linux import files, processes
from trimaran.monitor import Control, launch
from trimaran.plan import wire
from trimaran.runtime import creating, joining, lifecycle
from trimaran.runtime.cgroups import control, stats
from trimaran.runtime.plans import Plans
from trimaran.runtime.store import Store
from trimaran.spec import jsonio, validate
from trimaran.spec import runtime as spec
from trimaran.spec.resources import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from trimaran.isolation import CreateRequest, ExecRequest, Status
    from trimaran.plan.operations import Plan
    from trimaran.runtime.plans import Ready
    from trimaran.runtime.store import Entry


class NativeIsolation:
    """Containers made of namespaces, cgroups and seccomp; their state below ``root``, as trimaran-oci's is.

    ``trimaran-oci --root ROOT list`` shows them too.
    """

    name = "native"

    def __init__(self, root: str) -> None:
        self.store = Store(root)
        self._plans = Plans()

    def create(self, request: CreateRequest) -> Process:
        text = jsonio.dump(request.config)
        ready = self._plans.get(request, text)
        with self.store.create(request.id) as entry:
            try:
                return self._create(entry, request, text, ready)
            except BaseException:
                creating.undo(self.store, entry)
                raise

    def _create(self, entry: Entry, request: CreateRequest, text: str, ready: Ready) -> Process:
        prepared = ready.prepared
        files.write_whole(entry.directory, "config.json", text.encode())
        state = creating.new_state(entry, dict(request.config), request.bundle, prepared)
        state["monitor"] = request.state
        entry.write(state)
        if not request.start:
            os.close(os.open("start", os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=entry.directory))
        process = self._launch(request.id, ready.plan, ready.wire, request, prepared.oom)
        state["pid"] = process.pid
        state["started"] = processes.start_time(process.pid) or 0
        entry.write(state)
        return process

    def _launch(
        self, id: str, plan: Plan, data: bytes, request: CreateRequest | ExecRequest, oom: str
    ) -> Process:
        """Start the monitor that executes the plan, given in its wire form too; it goes on without us."""
        plan_fd = files.sealed("plan", data)
        start = getattr(request, "start", True)
        try:
            launched = launch(
                id=id,
                mode="plan",
                state=request.state,
                stdio=request.stdio,
                start=start,
                durable=getattr(request, "durable", False),
                plan=plan_fd,
                extra=[("oom", oom)] if oom else [],
            )
        finally:
            os.close(plan_fd)
        try:
            pid = launched.wait_created()
            if start:
                launched.wait_started()
        except TrimaranError as error:
            launched.close()
            launched.reap(True)
            raise _placed(error, plan) from None
        launched.close()
        return Process(pid, launched.pid, launched.pidfd)

    def start(self, id: str) -> None:
        with self.store.open(id, locked=True) as entry:
            state = entry.read()
            now = lifecycle.status(entry, state)
            if now != "created":
                raise Conflict(f"container {id} cannot be started", why=f"it is {now}, not created")
            with Control(state["monitor"]) as control:
                control.start()
            os.unlink("start", dir_fd=entry.directory)

    def exec(self, id: str, request: ExecRequest) -> Process:
        process = spec.Process.parse(request.process, "$.process")
        validate.check_process(process, "$.process")
        with self.store.open(id) as entry:
            plan = joining.plan_exec(entry, entry.read(), process)
        return self._launch(f"{id}/{request.exec_id}", plan, wire.encode(plan), request, "")

    def kill(self, id: str, signal: int, *, all: bool = False) -> None:
        lifecycle.kill(self.store, id, signal, all=all)

    def pause(self, id: str) -> None:
        lifecycle.pause(self.store, id)

    def resume(self, id: str) -> None:
        lifecycle.resume(self.store, id)

    def status(self, id: str) -> Status:
        with self.store.open(id) as entry:
            return lifecycle.status(entry, entry.read())

    def processes(self, id: str) -> list[int]:
        with self.store.open(id) as entry:
            return control.processes(entry.read()["cgroups"])

    def stats(self, id: str) -> Stats:
        with self.store.open(id) as entry:
            used: dict[str, Any] = {**stats.read(entry.read()["cgroups"])}
            return Stats(**used)

    def update(self, id: str, resources: Mapping[str, Any]) -> None:
        with self.store.open(id, locked=True) as entry:
            control.update(entry.read()["cgroups"], Resources.parse(resources, "$"))

    def checkpoint(self, id: str, directory: str, *, leave_running: bool = False) -> None:
        raise Unsupported("checkpoints of monitored containers are not there yet")

    def restore(self, request: CreateRequest, directory: str) -> Process:
        raise Unsupported("containers cannot be restored with a monitor yet")

    def delete(self, id: str, *, force: bool = False) -> None:
        try:
            lifecycle.delete(self.store, id, force=force)
        except NotFound:
            return


def _placed(error: TrimaranError, plan: Plan) -> TrimaranError:
    """The error with the field of the configuration that the failing operation comes from."""
    if isinstance(error, PlanError) and 0 <= error.index < len(plan.operations):
        why = plan.operations[error.index].why
        return PlanError(
            error.index,
            error.step,
            error.errno,
            error.path,
            message=f"{error.step} {error.path} [{why}]",
        )
    return error
