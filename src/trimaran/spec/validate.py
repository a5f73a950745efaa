"""What the fields of config.json say together: contradictions, and values that no host could take.

Types and ranges have been checked by ``Config.parse``. Each check raises SpecError; what the specification
wants only logged as a warning is returned as text. Pure: whether this host can do it is for the planner.
"""

from __future__ import annotations

from trimaran.errors import SpecError
from trimaran.spec import ranges
from trimaran.spec.capabilities import NUMBERS
from trimaran.spec.record import step
from trimaran.spec.validate_linux import check_linux, check_mappings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.spec.runtime import Config, Hooks, Mount, Process, Scheduler

RLIMITS = (
    *("RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_CORE", "RLIMIT_RSS"),
    *("RLIMIT_NPROC", "RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "RLIMIT_AS", "RLIMIT_LOCKS", "RLIMIT_SIGPENDING"),
    *("RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_RTTIME"),
)
"""The resources of getrlimit(2), each at the place of its number (asm-generic/resource.h)."""

SUPPORTED_MAJOR = 1


def check(config: Config) -> list[str]:
    """Check a whole configuration; returns warnings. Raises SpecError."""
    _check_version(config.oci_version)
    if config.root is None:
        raise SpecError("$.root", "is missing", hint="name the directory of the root file system")
    if not config.root.path:
        raise SpecError("$.root.path", "is empty")
    warnings: list[str] = []
    if config.process is not None:
        warnings += check_process(config.process, "$.process")
    for number, mount in enumerate(config.mounts):
        _check_mount(mount, config, f"$.mounts[{number}]", warnings)
    if config.hooks is not None:
        _check_hooks(config.hooks)
    if "" in config.annotations:
        raise SpecError("$.annotations", "a key is empty")
    _check_names(config)
    if config.linux is not None:
        check_linux(config.linux)
    return warnings


def _check_version(version: str) -> None:
    numbers = version.partition("+")[0].partition("-")[0].split(".")
    # str.isdigit takes digits of all scripts: ask for ASCII too.
    if len(numbers) != 3 or not all(part.isdigit() and part.isascii() for part in numbers):
        raise SpecError("$.ociVersion", f'expected a version such as 1.3.0, not "{version}"')
    if int(numbers[0]) > SUPPORTED_MAJOR:
        raise SpecError("$.ociVersion", f"version {version} is newer than what this runtime knows (1.x)")


def _namespaces(config: Config) -> list[str]:
    return [namespace.type for namespace in config.linux.namespaces] if config.linux else []


def _check_names(config: Config) -> None:
    for key, value in (("hostname", config.hostname), ("domainname", config.domainname)):
        if value and "uts" not in _namespaces(config):
            raise SpecError(f"$.{key}", "it would be set on the host", hint='add a namespace of type "uts"')
        if len(value.encode()) > 64:
            raise SpecError(f"$.{key}", "longer than 64 bytes")
    twice = config.linux.sysctl.get("kernel.domainname") if config.linux else None
    if config.domainname and twice not in (None, config.domainname):
        raise SpecError("$.domainname", f'"{twice}" is given as the kernel parameter for it')


def check_process(process: Process, path: str) -> list[str]:
    """Check a ``process`` object, of a configuration or for exec; returns warnings. Raises SpecError."""
    if not process.cwd.startswith("/"):
        raise SpecError(f"{path}.cwd", f'expected an absolute path, not "{process.cwd}"')
    if not process.args:
        raise SpecError(f"{path}.args", "is missing", hint="name the program to run")
    if not process.args[0]:
        raise SpecError(f"{path}.args[0]", "the program's name is empty")
    _check_rlimits(process, f"{path}.rlimits")
    if process.oom_score_adj is not None and not -1000 <= process.oom_score_adj <= 1000:
        raise SpecError(
            f"{path}.oomScoreAdj", f"expected an integer from -1000 to 1000, not {process.oom_score_adj}"
        )
    priority = process.io_priority
    if priority is not None and not 0 <= priority.priority <= 7:
        raise SpecError(
            f"{path}.ioPriority.priority", f"expected an integer from 0 to 7, not {priority.priority}"
        )
    if process.scheduler is not None:
        _check_scheduler(process.scheduler, f"{path}.scheduler")
    affinity = process.exec_cpu_affinity
    if affinity is not None:
        for key, value in (("initial", affinity.initial), ("final", affinity.final)):
            ranges.parse(value, f"{path}.execCPUAffinity.{key}")
    return _capability_warnings(process, path)


def _check_rlimits(process: Process, path: str) -> None:
    seen = set()
    for number, limit in enumerate(process.rlimits):
        if limit.type not in RLIMITS:
            raise SpecError(f"{path}[{number}].type", f'"{limit.type}" is no resource limit of Linux')
        if limit.type in seen:
            raise SpecError(f"{path}[{number}].type", f"{limit.type} is given twice")
        if limit.soft > limit.hard:
            raise SpecError(f"{path}[{number}].soft", f"{limit.soft} is above the hard limit, {limit.hard}")
        seen.add(limit.type)


def _check_scheduler(scheduler: Scheduler, path: str) -> None:
    policy = scheduler.policy
    if policy == "SCHED_ISO":
        raise SpecError(f"{path}.policy", "SCHED_ISO is reserved, and not implemented by Linux")
    if not -20 <= scheduler.nice <= 19:
        raise SpecError(f"{path}.nice", f"expected an integer from -20 to 19, not {scheduler.nice}")
    if scheduler.priority and policy not in ("SCHED_FIFO", "SCHED_RR"):
        raise SpecError(f"{path}.priority", f"has no meaning for {policy}")
    if policy == "SCHED_DEADLINE":
        period = scheduler.period or scheduler.deadline
        if not 0 < scheduler.runtime <= scheduler.deadline <= period:
            raise SpecError(path, "SCHED_DEADLINE needs 0 < runtime <= deadline <= period")
    else:
        for key in ("runtime", "deadline", "period"):
            if getattr(scheduler, key):
                raise SpecError(f"{path}.{key}", f"has no meaning for {policy}")


def _capability_warnings(process: Process, path: str) -> list[str]:
    if process.capabilities is None:
        return []
    return [
        f"{path}.capabilities.{key}[{number}]: {name} is unknown and left out"
        for key in ("bounding", "effective", "inheritable", "permitted", "ambient")
        for number, name in enumerate(getattr(process.capabilities, key))
        if name not in NUMBERS
    ]


def _check_mount(mount: Mount, config: Config, path: str, warnings: list[str]) -> None:
    if not mount.destination:
        raise SpecError(f"{path}.destination", "is empty")
    if not mount.destination.startswith("/"):
        warnings.append(f"{path}.destination: the relative path {mount.destination} is taken from /")
    if bool(mount.uid_mappings) != bool(mount.gid_mappings):
        raise SpecError(path, "uidMappings and gidMappings must be given together")
    check_mappings(mount.uid_mappings, f"{path}.uidMappings")
    check_mappings(mount.gid_mappings, f"{path}.gidMappings")
    for option in ("idmap", "ridmap"):
        if option in mount.options and not mount.uid_mappings and "user" not in _namespaces(config):
            raise SpecError(
                f"{path}.options",
                f"{option} needs a mapping",
                hint="give uidMappings and gidMappings, or a user namespace",
            )


def _check_hooks(hooks: Hooks) -> None:
    for kind, items in hooks.kinds():
        for number, hook in enumerate(items):
            path = f"$.hooks{step(kind)}[{number}]"
            if not hook.path.startswith("/"):
                raise SpecError(f"{path}.path", f'expected an absolute path, not "{hook.path}"')
            if hook.timeout is not None and hook.timeout <= 0:
                raise SpecError(f"{path}.timeout", f"expected a number of seconds, not {hook.timeout}")
