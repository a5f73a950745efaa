"""The ``linux`` object of config.json, without its resources and seccomp (config-linux.md)."""

from __future__ import annotations

from trimaran.spec.record import I64, ID, U32, Record
from trimaran.spec.resources import Resources
from trimaran.spec.seccomp import Seccomp


class IDMapping(Record):
    """``size`` ids from ``container_id`` on, in the container, are those from ``host_id`` on outside."""

    container_id: U32
    host_id: U32
    size: U32

    _names = {"container_id": "containerID", "host_id": "hostID"}


class Namespace(Record):
    """A namespace to create, or, with ``path``, to join."""

    type: str
    path: str = ""

    _choices = {"type": ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")}


class Device(Record):
    """A device node to make; ``type`` is ``c``, ``b``, ``u`` or ``p``; owner in the container's namespace."""

    path: str
    type: str
    major: I64 = 0
    minor: I64 = 0
    file_mode: U32 | None = None
    uid: ID | None = None
    gid: ID | None = None

    _choices = {"type": ("c", "b", "u", "p")}


class NetDevice(Record):
    """A network device to move in, renamed if ``name`` is given."""

    name: str = ""


class IntelRdt(Record):
    """Cache and memory bandwidth control, through resctrl."""

    clos_id: str = ""
    schemata: list[str] = []
    l3_cache_schema: str = ""
    mem_bw_schema: str = ""
    enable_monitoring: bool = False

    _names = {"clos_id": "closID"}


class MemoryPolicy(Record):
    """Arguments of set_mempolicy(2); ``nodes`` is a list like ``0-3,7``."""

    mode: str
    nodes: str = ""
    flags: list[str] = []

    _choices = {
        "mode": (
            *("MPOL_DEFAULT", "MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE"),
            *("MPOL_PREFERRED", "MPOL_PREFERRED_MANY", "MPOL_LOCAL"),
        ),
        "flags": ("MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"),
    }


class Personality(Record):
    """Execution domain of personality(2). No flags are defined so far."""

    domain: str
    flags: list[str] = []

    _choices = {"domain": ("LINUX", "LINUX32")}


class TimeOffset(Record):
    """Offset of a clock of a time namespace."""

    secs: I64 = 0
    nanosecs: U32 = 0


class Linux(Record):
    """What is particular to Linux."""

    uid_mappings: list[IDMapping] = []
    gid_mappings: list[IDMapping] = []
    sysctl: dict[str, str] = {}
    resources: Resources | None = None
    cgroups_path: str = ""
    namespaces: list[Namespace] = []
    devices: list[Device] = []
    net_devices: dict[str, NetDevice] = {}
    seccomp: Seccomp | None = None
    rootfs_propagation: str = ""
    masked_paths: list[str] = []
    readonly_paths: list[str] = []
    mount_label: str = ""
    intel_rdt: IntelRdt | None = None
    memory_policy: MemoryPolicy | None = None
    personality: Personality | None = None
    time_offsets: dict[str, TimeOffset] = {}
