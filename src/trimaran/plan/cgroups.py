"""A container's cgroups: which directories, and what is written to them (config-linux.md, "Control groups").

Pure: from resources and the host's layout to a list of file writes, each with the field it comes from.
"""

from __future__ import annotations

from trimaran.errors import SpecError
from trimaran.plan.build import CgroupPlan, FileWrite
from trimaran.plan.cgroup_devices import v1_rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.plan.host import CgroupLayout
    from trimaran.spec.resources import CPU, Memory, Resources

AT = "$.linux.resources"
# Made only if something is asked of them: a new cpuset is empty until it is given CPUs and memory nodes.
_ON_DEMAND = ("cpuset", "hugetlb", "net_cls", "net_prio", "perf_event", "rdma", "misc", "debug")
_V2_CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids", "hugetlb", "rdma")


def container_path(given: str, id: str, own: str) -> str:
    """Where the container's cgroup is, from the root of a hierarchy.

    An absolute ``cgroupsPath`` starts there, a relative one (or none: then it is the id) at ``own``, the
    cgroup that the runtime is in. Raises SpecError for a path that climbs.
    """
    parts = [part for part in given.split("/") if part not in ("", ".")] if given else [id]
    if ".." in parts:
        raise SpecError("$.linux.cgroupsPath", f"{given!r} leads upwards", hint="leave out ..")
    base = "" if given.startswith("/") else own.rstrip("/")
    return f"{base}/{'/'.join(parts)}"


def plan(resources: Resources | None, layout: CgroupLayout, given: str, id: str) -> CgroupPlan:
    """The cgroups of a new container, with their limits."""
    if layout.mode == "v2":
        return _plan_v2(resources, layout, given, id)
    return _plan_v1(resources, layout, given, id)


def updates(resources: Resources, mode: str) -> list[tuple[str, str, str]]:
    """Writes that change the limits of a container that runs, as (file, text, where from)."""
    if mode == "v2":
        return v2_values(resources)
    return [(file, text, why) for _, file, text, why in v1_values(resources)]


def _plan_v1(resources: Resources | None, layout: CgroupLayout, given: str, id: str) -> CgroupPlan:
    wanted = v1_values(resources)
    directories: dict[str, str] = {}
    for controller, mount in layout.mounts.items():
        needed = controller not in _ON_DEMAND or any(name == controller for name, *_ in wanted)
        if needed:
            path = container_path(given, id, layout.own.get(controller, "/"))
            directories[controller] = f"{mount}{path}"
    writes = _cpuset_parents(layout, directories.get("cpuset"))
    for controller, file, text, why in wanted:
        if controller not in layout.mounts:
            raise SpecError(why, f"this host has no {controller} cgroup controller")
        writes.append(FileWrite(f"{directories[controller]}/{file}", text, why))
    if "devices" in directories:
        rules = resources.devices if resources else []
        for file, text, why in v1_rules(rules):
            writes.append(FileWrite(f"{directories['devices']}/{file}", text, why))
    unique = list(dict.fromkeys(directories.values()))
    return CgroupPlan(unique, writes, unique)


def _cpuset_parents(layout: CgroupLayout, directory: str | None) -> list[FileWrite]:
    """CPUs and nodes for the levels above and the container's own, which are born without any."""
    if directory is None:
        return []
    mount = layout.mounts["cpuset"]
    writes = []
    at = mount
    for part in directory[len(mount) :].strip("/").split("/"):
        at = f"{at}/{part}"
        for file, value in zip(("cpuset.cpus", "cpuset.mems"), layout.cpuset, strict=True):
            why = "a cpuset is born empty"
            writes.append(FileWrite(f"{at}/{file}", value, why, optional=at != directory))
    return writes


def v1_values(resources: Resources | None) -> list[tuple[str, str, str, str]]:
    """Limits as (controller, file, text, where from), in the order in which they must be written."""
    if resources is None:
        return []
    values = [*_v1_memory(resources.memory), *_v1_cpu(resources.cpu)]
    if resources.pids and resources.pids.limit is not None:
        values.append(("pids", "pids.max", _maximum(resources.pids.limit), f"{AT}.pids.limit"))
    for number, limit in enumerate(resources.hugepage_limits):
        file = f"hugetlb.{limit.page_size}.limit_in_bytes"
        values.append(("hugetlb", file, str(limit.limit), f"{AT}.hugepageLimits[{number}]"))
    return values


def _v1_memory(memory: Memory | None) -> list[tuple[str, str, str, str]]:
    if memory is None:
        return []
    fields = (
        ("memory.limit_in_bytes", memory.limit, "limit"),
        ("memory.memsw.limit_in_bytes", memory.swap, "swap"),
        ("memory.soft_limit_in_bytes", memory.reservation, "reservation"),
        ("memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp, "kernelTCP"),
        ("memory.swappiness", memory.swappiness, "swappiness"),
        ("memory.oom_control", 1 if memory.disable_oom_killer else None, "disableOOMKiller"),
    )
    return [
        ("memory", file, str(value), f"{AT}.memory.{field}")
        for file, value, field in fields
        if value is not None
    ]


def _v1_cpu(cpu: CPU | None) -> list[tuple[str, str, str, str]]:
    if cpu is None:
        return []
    fields: tuple[tuple[str, str, object, str], ...] = (
        ("cpu", "cpu.shares", cpu.shares or None, "shares"),
        ("cpu", "cpu.cfs_period_us", cpu.period or None, "period"),
        ("cpu", "cpu.cfs_quota_us", cpu.quota or None, "quota"),
        ("cpu", "cpu.cfs_burst_us", cpu.burst, "burst"),
        ("cpu", "cpu.rt_period_us", cpu.realtime_period or None, "realtimePeriod"),
        ("cpu", "cpu.rt_runtime_us", cpu.realtime_runtime or None, "realtimeRuntime"),
        ("cpu", "cpu.idle", cpu.idle, "idle"),
        ("cpuset", "cpuset.cpus", cpu.cpus or None, "cpus"),
        ("cpuset", "cpuset.mems", cpu.mems or None, "mems"),
    )
    return [
        (controller, file, str(value), f"{AT}.cpu.{field}")
        for controller, file, value, field in fields
        if value is not None
    ]


def _maximum(limit: int) -> str:
    return str(limit) if limit > 0 else "max"


def _plan_v2(resources: Resources | None, layout: CgroupLayout, given: str, id: str) -> CgroupPlan:
    mount = layout.mounts[""]
    # Beside the runtime's own cgroup, not below it: one that holds processes can pass on no controller of
    # memory or I/O, and a child of it can hold none (cgroup-v2.rst, "no internal process constraint").
    path = container_path(given, id, layout.own.get("", "/").rpartition("/")[0])
    directory = f"{mount}{path}"
    writes = []
    at = mount
    for part in path.strip("/").split("/"):
        # Not every controller can be had at every level: what is missing shows when a limit is written.
        for controller in _V2_CONTROLLERS:
            why = "a controller is there if the level above passes it on"
            writes.append(FileWrite(f"{at}/cgroup.subtree_control", f"+{controller}", why, optional=True))
        at = f"{at}/{part}"
    for file, text, why in v2_values(resources):
        writes.append(FileWrite(f"{directory}/{file}", text, why))
    return CgroupPlan([directory], writes, [directory])


def cpu_weight(shares: int) -> int:
    """cpu.weight (1 to 10000) for cpu.shares (2 to 262144), with 1024 near the default of 100.

    The curve 10^(l^2/612 + 125*l/612 - 7/34) of l = log2(shares), which runc and crun use.
    """
    from math import ceil, log2

    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    exponent = log2(shares)
    return ceil(10 ** (exponent * exponent / 612 + 125 * exponent / 612 - 7 / 34))


def v2_values(resources: Resources | None) -> list[tuple[str, str, str]]:
    """Limits as (file, text, where from), for the unified hierarchy."""
    if resources is None:
        return []
    values = [*_v2_memory(resources.memory), *_v2_cpu(resources.cpu)]
    if resources.pids and resources.pids.limit is not None:
        values.append(("pids.max", _maximum(resources.pids.limit), f"{AT}.pids.limit"))
    for number, limit in enumerate(resources.hugepage_limits):
        values.append((f"hugetlb.{limit.page_size}.max", str(limit.limit), f"{AT}.hugepageLimits[{number}]"))
    for file, text in resources.unified.items():
        values.append((file, text, f'{AT}.unified["{file}"]'))
    return values


def _v2_memory(memory: Memory | None) -> list[tuple[str, str, str]]:
    if memory is None:
        return []
    values = []
    if memory.limit:
        values.append(("memory.max", _maximum(memory.limit), f"{AT}.memory.limit"))
    if memory.reservation:
        values.append(("memory.low", _maximum(memory.reservation), f"{AT}.memory.reservation"))
    if memory.swap:
        # v1 counts memory and swap together, v2 swap alone.
        if memory.swap > 0 and memory.limit is None:
            raise SpecError(f"{AT}.memory.swap", "needs a memory limit too: it is the sum of both")
        swap = memory.swap if memory.swap < 0 else memory.swap - (memory.limit or 0)
        text = "0" if swap == 0 else _maximum(swap)
        values.append(("memory.swap.max", text, f"{AT}.memory.swap"))
    return values


def _v2_cpu(cpu: CPU | None) -> list[tuple[str, str, str]]:
    if cpu is None:
        return []
    values = []
    if cpu.shares:
        values.append(("cpu.weight", str(cpu_weight(cpu.shares)), f"{AT}.cpu.shares"))
    if cpu.quota or cpu.period:
        quota = str(cpu.quota) if cpu.quota and cpu.quota > 0 else "max"
        values.append(("cpu.max", f"{quota} {cpu.period or 100000}", f"{AT}.cpu.quota"))
    if cpu.burst is not None:
        values.append(("cpu.max.burst", str(cpu.burst), f"{AT}.cpu.burst"))
    if cpu.idle is not None:
        values.append(("cpu.idle", str(cpu.idle), f"{AT}.cpu.idle"))
    if cpu.cpus:
        values.append(("cpuset.cpus", cpu.cpus, f"{AT}.cpu.cpus"))
    if cpu.mems:
        values.append(("cpuset.mems", cpu.mems, f"{AT}.cpu.mems"))
    return values
