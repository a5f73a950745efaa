"""A container's cgroups: which directories, and what is written to them (config-linux.md, "Control groups").

Pure: from resources and the host's layout to a list of file writes, each with the field it comes from.
"""

from __future__ import annotations

from trimaran.errors import SpecError
from trimaran.plan import cgroup_v1, cgroup_v2
from trimaran.plan.build import CgroupPlan, FileWrite
from trimaran.plan.cgroup_devices import all_rules, v1_rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.plan.cgroup_values import Value
    from trimaran.plan.host import CgroupLayout
    from trimaran.spec.resources import Resources

# Made only if something is asked of them: few hosts have them all.
_ON_DEMAND = ("hugetlb", "net_cls", "net_prio", "perf_event", "rdma", "misc", "debug")
PATH = "$.linux.cgroupsPath"


def container_path(given: str, id: str, own: str) -> str:
    """Where the container's cgroup is, from the root of a hierarchy.

    An absolute ``cgroupsPath`` starts there, a relative one (or none: then it is the id) at ``own``. Raises
    SpecError for a path that climbs, or that is a hierarchy's root: the container would be the whole host.
    """
    parts = [part for part in given.split("/") if part not in ("", ".")] if given else [id]
    if ".." in parts:
        raise SpecError(PATH, f"{given!r} leads upwards", hint="leave out ..")
    if not parts:
        raise SpecError(PATH, "is the root of the hierarchy", hint="name a cgroup of the container's own")
    base = "" if given.startswith("/") else own.rstrip("/")
    return f"{base}/{'/'.join(parts)}"


def plan(
    resources: Resources | None, layout: CgroupLayout, given: str, id: str, *, rootless: bool = False
) -> CgroupPlan:
    """The cgroups of a new container, with their limits.

    ``rootless``: what was not delegated to us cannot be had. It is left out, unless a limit needs it.
    """
    if layout.mode == "v2":
        return _plan_v2(resources, layout, given, id, rootless)
    return _plan_v1(resources, layout, given, id)


def split(directories: list[str], layout: CgroupLayout | None) -> tuple[str, list[str]]:
    """A container's directories as the one of the v2 hierarchy ("" for none), and those of v1."""
    unified = layout.mounts.get("") if layout else None
    if unified is None:
        return "", directories
    into = next((path for path in directories if path.startswith(f"{unified}/")), "")
    return into, [path for path in directories if path != into]


def updates(resources: Resources, mode: str) -> list[Value]:
    """Writes that change the limits of a container that runs."""
    return cgroup_v2.values(resources) if mode == "v2" else cgroup_v1.values(resources)


def _write(directory: str, value: Value) -> FileWrite:
    other = (f"{directory}/{value.other[0]}", value.other[1]) if value.other else None
    return FileWrite(f"{directory}/{value.file}", value.text, value.why, value.optional, other)


def _plan_v1(resources: Resources | None, layout: CgroupLayout, given: str, id: str) -> CgroupPlan:
    wanted = cgroup_v1.values(resources)
    directories: dict[str, str] = {}
    for controller, mount in layout.mounts.items():
        needed = controller not in _ON_DEMAND or any(value.controller == controller for value in wanted)
        if needed:
            path = container_path(given, id, layout.own.get(controller, "/"))
            directories[controller] = f"{mount}{path}"
    writes = _cpuset_parents(layout, directories.get("cpuset"))
    for value in wanted:
        if value.controller not in layout.mounts:
            raise SpecError(value.why, f"this host has no {value.controller} cgroup controller")
        writes.append(_write(directories[value.controller], value))
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


def _plan_v2(
    resources: Resources | None, layout: CgroupLayout, given: str, id: str, rootless: bool
) -> CgroupPlan:
    mount = layout.mounts[""]
    # A cgroup with processes, such as ours, cannot have controllers below it: so beside it, not in it.
    own = layout.own.get("", "/").rpartition("/")[0]
    path = container_path(given, id, own)
    directory = f"{mount}{path}"
    writes = []
    at = mount
    for part in path.strip("/").split("/"):
        # Not every controller can be had at every level: what is missing shows when a limit is written.
        for controller in cgroup_v2.CONTROLLERS:
            why = "a controller is there if the level above passes it on"
            writes.append(FileWrite(f"{at}/cgroup.subtree_control", f"+{controller}", why, optional=True))
        at = f"{at}/{part}"
    writes += [_write(directory, value) for value in cgroup_v2.values(resources)]
    from trimaran.plan.device_filter import compile_rules

    program = compile_rules(all_rules(resources.devices if resources else []))
    # Without CAP_BPF or CAP_SYS_ADMIN no program can be attached; but then no device can be made either.
    devices = None if rootless else (directory, program)
    # Into a cgroup that allows no process none can be cloned, though one can be moved there.
    closed = resources is not None and resources.pids is not None and resources.pids.limit == 0
    return CgroupPlan([directory], writes, [directory], devices, closed=closed)
