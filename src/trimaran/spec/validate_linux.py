"""What the fields of the ``linux`` object say together (see :mod:`trimaran.spec.validate`)."""

from __future__ import annotations

from trimaran.errors import SpecError
from trimaran.spec import ranges
from trimaran.spec.record import step
from trimaran.spec.validate_resources import check_resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.spec.linux import Device, IDMapping, IntelRdt, Linux, MemoryPolicy

PROPAGATION = (
    *("private", "shared", "slave", "unbindable"),
    *("rprivate", "rshared", "rslave", "runbindable"),
)
# Without these a sysctl would be the host's. Names are those under /proc/sys, with dots.
_IPC_SYSCTLS = (
    *("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax"),
    *("kernel.shmmni", "kernel.shm_rmid_forced", "kernel.shm_next_id", "kernel.msg_next_id"),
    *("kernel.sem_next_id", "kernel.auto_msgmni"),
)
_MAX_INTERFACE_NAME = 15


def check_linux(linux: Linux) -> None:
    """Raises SpecError."""
    kinds = _check_namespaces(linux)
    _check_user_namespace(linux, kinds)
    _check_time_offsets(linux, kinds)
    for name in linux.sysctl:
        _check_sysctl(name, kinds)
    for number, device in enumerate(linux.devices):
        _check_device(device, f"$.linux.devices[{number}]")
    _check_net_devices(linux, kinds)
    _check_paths(linux, kinds)
    if linux.intel_rdt is not None:
        _check_intel_rdt(linux.intel_rdt)
    if linux.memory_policy is not None:
        _check_memory_policy(linux.memory_policy)
    if linux.personality is not None and linux.personality.flags:
        raise SpecError("$.linux.personality.flags[0]", "no flags are defined")
    if linux.resources is not None:
        check_resources(linux.resources)


def _check_namespaces(linux: Linux) -> dict[str, str]:
    """The path, or nothing, of each kind of namespace that is asked for."""
    kinds: dict[str, str] = {}
    for number, namespace in enumerate(linux.namespaces):
        path = f"$.linux.namespaces[{number}]"
        if namespace.type in kinds:
            raise SpecError(f"{path}.type", f'"{namespace.type}" is given twice')
        if namespace.path and not namespace.path.startswith("/"):
            raise SpecError(f"{path}.path", f'expected an absolute path, not "{namespace.path}"')
        kinds[namespace.type] = namespace.path
    return kinds


def _check_user_namespace(linux: Linux, kinds: dict[str, str]) -> None:
    for key, mappings in (("uidMappings", linux.uid_mappings), ("gidMappings", linux.gid_mappings)):
        check_mappings(mappings, f"$.linux.{key}")
        if mappings and "user" not in kinds:
            raise SpecError(f"$.linux.{key}", "no user namespace is asked for, so nothing can be mapped")
        if mappings and kinds["user"]:
            raise SpecError(f"$.linux.{key}", "the user namespace that is joined has its mappings already")
        if not mappings and kinds.get("user") == "":
            raise SpecError(f"$.linux.{key}", "is missing, and a new user namespace needs it")


def check_mappings(mappings: list[IDMapping], path: str) -> None:
    """Check that id mappings are what the kernel takes (user_namespaces(7)). Raises SpecError."""
    for number, mapping in enumerate(mappings):
        here = f"{path}[{number}]"
        if mapping.size == 0:
            raise SpecError(f"{here}.size", "is zero")
        if max(mapping.container_id, mapping.host_id) + mapping.size > 2**32 - 1:
            raise SpecError(here, "reaches beyond 4294967294")
        for other in mappings[:number]:
            if _overlap(mapping.container_id, mapping.size, other.container_id, other.size):
                raise SpecError(f"{here}.containerID", "overlaps an earlier mapping")
            if _overlap(mapping.host_id, mapping.size, other.host_id, other.size):
                raise SpecError(f"{here}.hostID", "overlaps an earlier mapping")


def _overlap(start: int, size: int, other_start: int, other_size: int) -> bool:
    return start < other_start + other_size and other_start < start + size


def _check_time_offsets(linux: Linux, kinds: dict[str, str]) -> None:
    for clock, offset in linux.time_offsets.items():
        path = f"$.linux.timeOffsets{step(clock)}"
        if clock not in ("monotonic", "boottime"):
            raise SpecError(path, "only the clocks monotonic and boottime have offsets")
        if offset.nanosecs >= 1_000_000_000:
            raise SpecError(f"{path}.nanosecs", f"expected less than a second, not {offset.nanosecs}")
        if kinds.get("time") != "":
            raise SpecError(path, "offsets need a new time namespace", hint='add a namespace of type "time"')


def sysctl_path(name: str) -> str:
    """The path below /proc/sys of a kernel parameter.

    Its parts are separated by what comes first, dots or slashes; then the other belongs to a part, as in
    ``net.ipv4.conf.eth0/100.rp_filter`` (sysctl.d(5)).
    """
    slashes_first = next((c for c in name if c in "./"), ".") == "/"
    return name if slashes_first else name.translate({ord("."): "/", ord("/"): "."})


def _check_sysctl(given: str, kinds: dict[str, str]) -> None:
    path, parts = f"$.linux.sysctl{step(given)}", sysctl_path(given).split("/")
    name = ".".join(parts)
    if any(part in ("", ".", "..") for part in parts):
        raise SpecError(path, "is no name of a kernel parameter")
    if name == "kernel.hostname":
        raise SpecError(path, "contradicts the field for it", hint="use $.hostname")
    if name in _IPC_SYSCTLS or name.startswith("fs.mqueue."):
        kind = "ipc"
    elif name.startswith("net."):
        kind = "network"
    elif name == "kernel.domainname":
        kind = "uts"
    elif name.startswith("user."):
        kind = "user"
    else:
        raise SpecError(path, "belongs to no namespace: it would be set on the host")
    if kind not in kinds:
        raise SpecError(path, "it would be set on the host", hint=f'add a namespace of type "{kind}"')


def _check_device(device: Device, path: str) -> None:
    if not device.path.startswith("/"):
        raise SpecError(f"{path}.path", f'expected an absolute path, not "{device.path}"')
    if device.type == "p":
        return
    if not 0 <= device.major < 1 << 12:
        raise SpecError(f"{path}.major", f"expected an integer from 0 to 4095, not {device.major}")
    if not 0 <= device.minor < 1 << 20:
        raise SpecError(f"{path}.minor", f"expected an integer from 0 to 1048575, not {device.minor}")


def _check_net_devices(linux: Linux, kinds: dict[str, str]) -> None:
    if linux.net_devices and "network" not in kinds:
        raise SpecError("$.linux.netDevices", "there is no network namespace to move them to")
    targets = set()
    for name, device in linux.net_devices.items():
        path = f"$.linux.netDevices{step(name)}"
        for place, text in ((path, name), (f"{path}.name", device.name or name)):
            if not text or len(text.encode()) > _MAX_INTERFACE_NAME or text in (".", ".."):
                raise SpecError(place, f'"{text}" is no name of a network device')
            if any(c in "/:" or c.isspace() for c in text):
                raise SpecError(place, f'"{text}" is no name of a network device')
        target = device.name or name
        if target in targets and "%d" not in target:
            raise SpecError(f"{path}.name", f"{target} is given twice")
        targets.add(target)


def _check_paths(linux: Linux, kinds: dict[str, str]) -> None:
    for key, paths in (("maskedPaths", linux.masked_paths), ("readonlyPaths", linux.readonly_paths)):
        for number, path in enumerate(paths):
            if not path.startswith("/"):
                raise SpecError(f"$.linux.{key}[{number}]", f'expected an absolute path, not "{path}"')
        if paths and "mount" not in kinds:
            raise SpecError(
                f"$.linux.{key}", "they would be changed on the host", hint="add a mount namespace"
            )
    if linux.rootfs_propagation and linux.rootfs_propagation not in PROPAGATION:
        raise SpecError("$.linux.rootfsPropagation", f'"{linux.rootfs_propagation}" is no mount propagation')
    if ".." in linux.cgroups_path.split("/"):
        raise SpecError("$.linux.cgroupsPath", '".." would lead out of its parent')


def _check_intel_rdt(rdt: IntelRdt) -> None:
    path = "$.linux.intelRdt"
    if rdt.clos_id in (".", "..") or ("/" in rdt.clos_id and rdt.clos_id != "/"):
        raise SpecError(f"{path}.closID", f'"{rdt.clos_id}" is no name of a class of service')
    for number, line in enumerate(rdt.schemata):
        if "\n" in line:
            raise SpecError(f"{path}.schemata[{number}]", "contains a newline")
    if rdt.mem_bw_schema and (not rdt.mem_bw_schema.startswith("MB:") or "\n" in rdt.mem_bw_schema):
        raise SpecError(f"{path}.memBwSchema", 'expected one line that begins with "MB:"')
    if "\n" in rdt.l3_cache_schema:
        raise SpecError(f"{path}.l3CacheSchema", "contains a newline")


def _check_memory_policy(policy: MemoryPolicy) -> None:
    path = "$.linux.memoryPolicy"
    nodes = ranges.parse(policy.nodes, f"{path}.nodes")
    if policy.mode in ("MPOL_DEFAULT", "MPOL_LOCAL") and nodes:
        raise SpecError(f"{path}.nodes", f"{policy.mode} takes no nodes")
    if policy.mode not in ("MPOL_DEFAULT", "MPOL_LOCAL", "MPOL_PREFERRED") and not nodes:
        raise SpecError(f"{path}.nodes", f"{policy.mode} needs at least one node")
    if {"MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"} <= set(policy.flags):
        raise SpecError(f"{path}.flags", "relative and static nodes exclude each other")
    if "MPOL_F_NUMA_BALANCING" in policy.flags and policy.mode not in ("MPOL_BIND", "MPOL_PREFERRED_MANY"):
        raise SpecError(f"{path}.flags", f"MPOL_F_NUMA_BALANCING has no meaning for {policy.mode}")
