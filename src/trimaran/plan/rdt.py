"""Cache and memory bandwidth control: a group of the resctrl file system (config-linux.md, "IntelRdt")."""

from __future__ import annotations

from trimaran.errors import Unsupported
from trimaran.plan.operations import NO_SLOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.plan.build import Build
    from trimaran.spec.linux import IntelRdt

AT = "$.linux.intelRdt"


def _group(build: Build) -> tuple[IntelRdt, str] | None:
    """What is asked for, and the directory of its class of service."""
    rdt = build.config.linux.intel_rdt if build.config.linux else None
    if rdt is None:
        return None
    if not build.host.resctrl:
        raise Unsupported(
            f"{AT} cannot be applied",
            why="no resctrl file system is mounted",
            hint="mount -t resctrl resctrl /sys/fs/resctrl, if the processor can do it",
        )
    name = rdt.clos_id or build.id
    return rdt, build.host.resctrl if name == "/" else f"{build.host.resctrl}/{name}"


def directories(build: Build) -> list[str]:
    """Groups that are the container's own, to be removed with it: the innermost first."""
    found = _group(build)
    if found is None:
        return []
    rdt, group = found
    monitor = [f"{group}/mon_groups/{build.id}"] if rdt.enable_monitoring else []
    return monitor if rdt.clos_id else [*monitor, group]


def make_group(build: Build) -> None:
    """The host's part: the group, and its shares."""
    found = _group(build)
    if found is None:
        return
    rdt, group = found
    plan = build.plan
    plan.add("mkdirs", NO_SLOT, group, 0o755, why=f"{AT}.closID")
    lines = [line for line in (rdt.l3_cache_schema, rdt.mem_bw_schema, *rdt.schemata) if line]
    for line in lines:
        plan.add("write", NO_SLOT, f"{group}/schemata", f"{line}\n", why=f"{AT}.schemata")
    if rdt.enable_monitoring:
        plan.add("mkdirs", NO_SLOT, f"{group}/mon_groups/{build.id}", 0o755, why=f"{AT}.enableMonitoring")


def enroll(build: Build) -> None:
    """The parent's part: the new process, and so all that come from it, belong to the group."""
    found = _group(build)
    if found is None:
        return
    rdt, group = found
    build.plan.add("enroll", f"{group}/tasks", why=AT)
    if rdt.enable_monitoring:
        build.plan.add("enroll", f"{group}/mon_groups/{build.id}/tasks", why=f"{AT}.enableMonitoring")
