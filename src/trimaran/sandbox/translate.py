"""From an OCI configuration to what the kernel starts with. Pure: no file is looked at."""

from __future__ import annotations

from trimaran.errors import SpecError, Unsupported
from trimaran.sandbox.kernel.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def _names(text: str) -> list[str]:
    return text.split()


CAPABILITIES = _names(
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
    "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO "
    "SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME "
    "SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG "
    "WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)
RLIMITS = _names(
    "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME"
)
OWN_MOUNTS = frozenset(("/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys/fs/cgroup"))
INFINITY = (1 << 64) - 1


class Launch:
    """A program to start: an OCI process object. ``capabilities`` are bounding, effective, permitted,
    inheritable, ambient.
    """

    def __init__(self, argv: list[bytes], env: list[bytes], cwd: bytes = b"/") -> None:
        self.argv = argv
        self.env = env
        self.cwd = cwd
        self.uid = self.gid = 0
        self.groups: tuple[int, ...] = ()
        self.capabilities: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)
        self.no_new_privs = False
        self.umask = 0o022
        self.limits: dict[int, tuple[int, int]] = {}
        self.terminal = False
        self.size = (24, 80)
        self.stdio: tuple[int, ...] = ()


class Place:
    """A mount to make: ``kind`` is ``tmpfs`` or ``bind``."""

    def __init__(self, kind: str, path: str, source: str, read_only: bool, options: dict[str, str]) -> None:
        self.kind = kind
        self.path = path
        self.source = source
        self.read_only = read_only
        self.options = options


def encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def mask(names: list[str] | None) -> int:
    """CAP_ names as bits. Raises :class:`SpecError` for an unknown one."""
    bits = 0
    for name in names or ():
        short = name.upper().removeprefix("CAP_")
        if short not in CAPABILITIES:
            raise SpecError("$.process.capabilities", f"there is no capability {name}")
        bits |= 1 << CAPABILITIES.index(short)
    return bits


def launch(process: Mapping[str, Any]) -> Launch:
    """An OCI ``process`` object. Raises :class:`SpecError`."""
    args = process.get("args") or []
    if not args:
        raise SpecError("$.process.args", "there is nothing to execute")
    result = Launch(
        [encode(a) for a in args], [encode(e) for e in process.get("env") or ()], encode(process["cwd"])
    )
    user = process.get("user") or {}
    result.uid, result.gid = int(user.get("uid", 0)), int(user.get("gid", 0))
    result.groups = tuple(user.get("additionalGids") or ())
    result.umask = int(user.get("umask", 0o022))
    sets = process.get("capabilities") or {}
    order = ("bounding", "effective", "permitted", "inheritable", "ambient")
    bounding, effective, permitted, inheritable, ambient = (mask(sets.get(name)) for name in order)
    result.capabilities = (bounding, effective, permitted, inheritable, ambient)
    result.no_new_privs = bool(process.get("noNewPrivileges"))
    for index, entry in enumerate(process.get("rlimits") or ()):
        name = str(entry["type"]).removeprefix("RLIMIT_")
        if name not in RLIMITS:
            raise SpecError(f"$.process.rlimits[{index}].type", f"there is no limit {entry['type']}")
        soft, hard = int(entry["soft"]) & INFINITY, int(entry["hard"]) & INFINITY
        if soft > hard:
            raise SpecError(f"$.process.rlimits[{index}]", "the soft limit exceeds the hard one")
        result.limits[RLIMITS.index(name)] = (soft, hard)
    result.terminal = bool(process.get("terminal"))
    size = process.get("consoleSize") or {}
    result.size = (int(size.get("height", 24)) or 24, int(size.get("width", 80)) or 80)
    return result


def places(config: Mapping[str, Any]) -> list[Place]:
    """The mounts that the kernel does not bring itself, in their order."""
    result = []
    for index, mount in enumerate(config.get("mounts") or ()):
        path, kind = str(mount["destination"]), str(mount.get("type") or "")
        options: list[str] = list(mount.get("options") or ())
        if path in OWN_MOUNTS and kind != "bind" and "bind" not in options and "rbind" not in options:
            continue
        values = dict(option.split("=", 1) for option in options if "=" in option)
        read_only = "ro" in options
        if kind == "tmpfs":
            result.append(Place("tmpfs", path, "tmpfs", read_only, values))
        elif kind == "bind" or "bind" in options or "rbind" in options:
            result.append(Place("bind", path, str(mount.get("source", "")), read_only, values))
        elif kind not in ("proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2"):
            raise Unsupported(
                f"the sandbox cannot mount {kind or 'this'} at {path}",
                why=f"$.mounts[{index}]",
                hint="use a bind mount or tmpfs",
            )
    return result


def settings(config: Mapping[str, Any], options: Mapping[str, str]) -> Settings:
    """Limits, names and network of the sandbox. Raises :class:`SpecError`."""
    result = Settings()
    result.hostname = config.get("hostname") or "sandbox"
    result.domainname = config.get("domainname") or "(none)"
    linux = config.get("linux") or {}
    resources = linux.get("resources") or {}
    apply_resources(result, resources)
    result.network, result.network_path = "host", ""
    for namespace in linux.get("namespaces") or ():
        if namespace.get("type") == "network":
            result.network_path = namespace.get("path") or ""
            result.network = "path" if result.network_path else "none"
    result.network = options.get("sandbox.network", result.network)
    result.durable = options.get("sandbox.durable") == "yes"
    result.rules = [rule for rule in options.get("sandbox.rules", "").split(",") if rule]
    return result


def apply_resources(result: Settings, resources: Mapping[str, Any]) -> None:
    """Take limits from an OCI ``linux.resources`` object; what it does not name stays."""
    limit = (resources.get("memory") or {}).get("limit")
    if limit is not None:
        result.memory_limit = max(0, int(limit))
    tasks = (resources.get("pids") or {}).get("limit")
    if tasks is not None:
        result.max_tasks = max(0, int(tasks))
