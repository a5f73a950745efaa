"""From an image's configuration and the options to the OCI config.json. Pure: data to data.

https://github.com/opencontainers/runtime-spec/blob/main/config.md and config-linux.md. What a container may
do by default is what Docker's containers may.
"""

from __future__ import annotations

from trimaran.engine import limits, mounts
from trimaran.errors import InvalidInput
from trimaran.spec.capabilities import NAMES as EVERY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from trimaran.engine.options import Options
    from trimaran.engine.users import User

OCI_VERSION = "1.1.0"
DEFAULT_CAPABILITIES = frozenset(
    (
        *(
            "CAP_AUDIT_WRITE",
            "CAP_CHOWN",
            "CAP_DAC_OVERRIDE",
            "CAP_FOWNER",
            "CAP_FSETID",
            "CAP_KILL",
            "CAP_MKNOD",
        ),
        *("CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID"),
        "CAP_SYS_CHROOT",
    )
)
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MASKED = (
    *("/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
    *("/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"),
    "/sys/devices/virtual/powercap",
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


class Inputs:
    """What a configuration is made of, besides the options.

    ``image`` is the image's run configuration (Env, Entrypoint, Cmd, ...); ``command`` overrides its Cmd;
    ``user`` has been looked up in the image; ``binds`` are mounts that the engine itself adds; ``joins``
    maps a kind of namespace to the path of one to join, or to "host"; ``seccomp`` is the system call filter.
    """

    def __init__(
        self,
        *,
        id: str,
        image: Mapping[str, Any],
        command: Sequence[str] | None,
        user: User,
        binds: Sequence[Mapping[str, Any]] = (),
        joins: Mapping[str, str] | None = None,
        seccomp: Mapping[str, Any] | None = None,
        devices: Sequence[Mapping[str, Any]] = (),
        cgroups_path: str = "",
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        self.id = id
        self.image = image
        self.command = command
        self.user = user
        self.binds = binds
        self.joins = joins or {}
        self.seccomp = seccomp
        self.devices = devices
        self.cgroups_path = cgroups_path
        self.annotations = annotations or {}


def arguments(
    image: Mapping[str, Any], entrypoint: Sequence[str] | str | None, command: Sequence[str] | None
) -> list[str]:
    """The program and its arguments: a given entrypoint drops the image's command.

    Raises :class:`InvalidInput` if nothing says what to run.
    """
    if isinstance(entrypoint, str):
        entrypoint = [entrypoint] if entrypoint else []
    if entrypoint is None:
        start = list(image.get("Entrypoint") or ())
        rest = command if command else image.get("Cmd") or ()
    else:
        start, rest = list(entrypoint), command or ()
    args = [*start, *rest]
    if not args:
        raise InvalidInput("there is no command to run", why="the image names none", hint="give one")
    return args


def environment(image: Mapping[str, Any], options: Options, user: User) -> list[str]:
    """The image's variables, overridden by the options'; PATH and TERM have defaults.

    HOME is the user's, where it was looked up; else the hull sets it."""
    values = dict(_variable(entry) for entry in (PATH, *(image.get("Env") or ())))
    if options.hostname:
        values["HOSTNAME"] = options.hostname
    if options.tty:
        values.setdefault("TERM", "xterm")
    for entry in options.environment:
        name, value = _variable(entry)
        values[name] = value
    if user.home:
        values.setdefault("HOME", user.home)
    return [f"{name}={value}" for name, value in values.items()]


def _variable(entry: str) -> tuple[str, str]:
    name, equals, value = entry.partition("=")
    if not name or not equals:
        raise InvalidInput(f"'{entry}' is no environment variable", hint="NAME=VALUE")
    return name, value


def capabilities(options: Options) -> list[str]:
    """The names that the first process has: Docker's default, changed by cap_add and cap_drop."""
    if options.privileged:
        return list(EVERY)
    names = set(DEFAULT_CAPABILITIES)
    dropped = {_capability(name) for name in options.cap_drop}
    added = {_capability(name) for name in options.cap_add}
    names = set() if "ALL" in dropped else names - dropped
    names |= set(EVERY) if "ALL" in added else added
    return [name for name in EVERY if name in names - (dropped - added)]


def _capability(name: str) -> str:
    upper = name.upper()
    if upper == "ALL":
        return upper
    full = upper if upper.startswith("CAP_") else f"CAP_{upper}"
    if full not in EVERY:
        raise InvalidInput(f"'{name}' is no capability", hint="such as NET_ADMIN: see capabilities(7)")
    return full


def process(inputs: Inputs, options: Options) -> dict[str, Any]:
    """The ``process`` object."""
    names = capabilities(options)
    ambient: list[str] = []
    security = _security(options)
    result: dict[str, Any] = {
        "terminal": options.tty,
        "user": inputs.user.as_oci(),
        "args": arguments(inputs.image, options.entrypoint, inputs.command),
        "env": environment(inputs.image, options, inputs.user),
        "cwd": options.workdir or inputs.image.get("WorkingDir") or "/",
        "capabilities": {
            "bounding": names,
            "effective": names if inputs.user.uid == 0 else ambient,
            "permitted": names if inputs.user.uid == 0 else ambient,
        },
        "noNewPrivileges": security.get("no-new-privileges", "false") != "false",
    }
    if not result["cwd"].startswith("/"):
        raise InvalidInput(f"the working directory {result['cwd']} is not absolute")
    if options.oom_score_adj:
        result["oomScoreAdj"] = options.oom_score_adj
    if options.ulimits:
        result["rlimits"] = limits.rlimits(options.ulimits)
    if "apparmor" in security:
        result["apparmorProfile"] = security["apparmor"]
    if "label" in security:
        result["selinuxLabel"] = security["label"]
    return result


def _security(options: Options) -> dict[str, str]:
    """``--security-opt``: KEY, KEY=VALUE or KEY:VALUE."""
    found = {}
    for entry in options.security_opt:
        key, separator, value = entry.partition("=" if "=" in entry else ":")
        if key not in ("no-new-privileges", "seccomp", "apparmor", "label", "systempaths"):
            raise InvalidInput(f"'{entry}' is no security option")
        found[key] = value if separator else "true"
    return found


def namespaces(inputs: Inputs) -> list[dict[str, str]]:
    """New namespaces of each kind, but those that are joined or the host's own."""
    found = []
    for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup"):
        target = inputs.joins.get(kind, "")
        if target == "host":
            continue
        found.append({"type": kind, "path": target} if target else {"type": kind})
    return found


def linux(inputs: Inputs, options: Options) -> dict[str, Any]:
    """The ``linux`` object."""
    security = _security(options)
    result: dict[str, Any] = {
        "namespaces": namespaces(inputs),
        "resources": limits.resources(options),
        "cgroupsPath": inputs.cgroups_path,
        "devices": list(inputs.devices),
    }
    rules = limits.device_rules(options, inputs.devices)
    result["resources"]["devices"] = rules
    if options.sysctls:
        result["sysctl"] = dict(options.sysctls)
    if options.privileged:
        return result
    if security.get("systempaths") != "unconfined":
        result["maskedPaths"] = list(MASKED)
        result["readonlyPaths"] = list(READ_ONLY)
    if security.get("seccomp") != "unconfined" and inputs.seccomp:
        result["seccomp"] = dict(inputs.seccomp)
    return result


def generate(inputs: Inputs, options: Options) -> dict[str, Any]:
    """The whole document. Raises :class:`InvalidInput` for options that make no sense."""
    document: dict[str, Any] = {
        "ociVersion": OCI_VERSION,
        "process": process(inputs, options),
        "root": {"path": "rootfs", "readonly": options.read_only},
        "mounts": [*mounts.default(options, inputs.joins), *inputs.binds],
        "linux": linux(inputs, options),
    }
    if options.hostname and inputs.joins.get("uts") != "host":
        document["hostname"] = options.hostname
    if options.domainname:
        document["domainname"] = options.domainname
    annotations = {**options.annotations, **inputs.annotations}
    if annotations:
        document["annotations"] = annotations
    return document
