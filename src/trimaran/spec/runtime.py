"""The OCI runtime configuration, config.json (runtime-spec 1.3: config.md, config-linux.md).

``Config.parse`` checks types and ranges; :mod:`trimaran.spec.validate` checks what fields say together.
Names are those of the specification, in snake case. Sections of other platforms are ignored.
"""

from __future__ import annotations

from trimaran.spec.linux import IDMapping, Linux
from trimaran.spec.record import I32, I64, ID, U32, U64, Record


class Root(Record):
    """Where the root file system is: absolute, or relative to the bundle."""

    path: str
    readonly: bool = False


class Mount(Record):
    """One mount, in the order given; ``source`` of a bind is absolute or relative to the bundle."""

    destination: str
    type: str = ""
    source: str = ""
    options: list[str] = []
    uid_mappings: list[IDMapping] = []
    gid_mappings: list[IDMapping] = []


class Box(Record):
    """Size of a terminal, in characters."""

    height: U64
    width: U64


class User(Record):
    """Identity of a process, in the container's user namespace."""

    uid: ID = 0
    gid: ID = 0
    umask: U32 | None = None
    additional_gids: list[ID] = []
    username: str = ""


class Capabilities(Record):
    """The five sets (capabilities(7)), by names such as ``CAP_CHOWN``."""

    bounding: list[str] = []
    effective: list[str] = []
    inheritable: list[str] = []
    permitted: list[str] = []
    ambient: list[str] = []


class Rlimit(Record):
    """A limit of setrlimit(2), such as ``RLIMIT_NOFILE``."""

    type: str
    hard: U64
    soft: U64


class Scheduler(Record):
    """Arguments of sched_setattr(2); times in nanoseconds."""

    policy: str
    nice: I32 = 0
    priority: I32 = 0
    flags: list[str] = []
    runtime: U64 = 0
    deadline: U64 = 0
    period: U64 = 0

    _choices = {
        "policy": (
            *("SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE"),
            "SCHED_DEADLINE",
        ),
        "flags": (
            *("SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN"),
            *("SCHED_FLAG_KEEP_POLICY", "SCHED_FLAG_KEEP_PARAMS"),
            *("SCHED_FLAG_UTIL_CLAMP_MIN", "SCHED_FLAG_UTIL_CLAMP_MAX"),
        ),
    }


class IOPriority(Record):
    """Arguments of ioprio_set(2); ``priority`` from 0, the highest, to 7."""

    class_: str
    priority: I32 = 0

    _names = {"class_": "class"}
    _choices = {"class_": ("IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE")}


class CPUAffinity(Record):
    """CPUs, as a list like ``0-3,7``, of a process that joins: before and after it enters the cgroup."""

    initial: str = ""
    final: str = ""


class Process(Record):
    """A process to run: the container's first, or one that joins it."""

    terminal: bool = False
    console_size: Box | None = None
    user: User = User()
    args: list[str] = []
    env: list[str] = []
    cwd: str
    capabilities: Capabilities | None = None
    rlimits: list[Rlimit] = []
    no_new_privileges: bool = False
    apparmor_profile: str = ""
    oom_score_adj: I32 | None = None
    scheduler: Scheduler | None = None
    selinux_label: str = ""
    io_priority: IOPriority | None = None
    exec_cpu_affinity: CPUAffinity | None = None

    _names = {"exec_cpu_affinity": "execCPUAffinity"}


class Hook(Record):
    """A program run at a point of the life cycle; ``timeout`` in seconds; no ``env``: that of the runtime."""

    path: str
    args: list[str] = []
    env: list[str] | None = None
    timeout: I64 | None = None


class Hooks(Record):
    """The six points of the life cycle at which hooks run (config.md, "POSIX-platform Hooks")."""

    prestart: list[Hook] = []
    create_runtime: list[Hook] = []
    create_container: list[Hook] = []
    start_container: list[Hook] = []
    poststart: list[Hook] = []
    poststop: list[Hook] = []

    def kinds(self) -> list[tuple[str, list[Hook]]]:
        """Each kind, by its JSON key, in the order of the life cycle."""
        return [
            ("prestart", self.prestart),
            ("createRuntime", self.create_runtime),
            ("createContainer", self.create_container),
            ("startContainer", self.start_container),
            ("poststart", self.poststart),
            ("poststop", self.poststop),
        ]


class Config(Record):
    """The whole of config.json, as far as Linux goes."""

    oci_version: str
    process: Process | None = None
    root: Root | None = None
    hostname: str = ""
    domainname: str = ""
    mounts: list[Mount] = []
    hooks: Hooks | None = None
    annotations: dict[str, str] = {}
    linux: Linux | None = None
