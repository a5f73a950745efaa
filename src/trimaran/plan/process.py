"""What the process is: identity, limits, confinement, and its program (config.md, "Process")."""

from __future__ import annotations

from trimaran.errors import Unsupported
from trimaran.plan import rootfs
from trimaran.plan.operations import NO_SLOT
from trimaran.spec import ranges
from trimaran.spec.capabilities import NAMES, mask
from trimaran.spec.validate import RLIMITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.plan.build import Build
    from trimaran.spec.runtime import Hook, Process, Scheduler

SYS_ADMIN = mask(["CAP_SYS_ADMIN"])
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BIND_CONSOLE = 1 << 32
INHERIT = ["@ENV@"]
"""In place of a hook's environment: that of the runtime."""
_PERSONALITIES = {"LINUX": 0, "LINUX32": 8}
_IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
_POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
# MPOL_* of set_mempolicy(2), each at the place of its number
MEMORY_MODES = (
    *("MPOL_DEFAULT", "MPOL_PREFERRED", "MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_LOCAL"),
    *("MPOL_PREFERRED_MANY", "MPOL_WEIGHTED_INTERLEAVE"),
)
MEMORY_FLAGS = {
    "MPOL_F_NUMA_BALANCING": 1 << 13,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_STATIC_NODES": 1 << 15,
}
_SCHED_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}


class Confinement:
    """The filter that the process shall run under, compiled already, and the LSM labels' place."""

    __slots__ = ("filter", "flags", "listener_path", "listener_state", "where")

    def __init__(
        self, filter: bytes, flags: int, *, listener_path: str = "", listener_state: str = "", where: str = ""
    ) -> None:
        self.filter = filter
        self.flags = flags
        self.listener_path = listener_path
        self.listener_state = listener_state
        self.where = where


def console(build: Build, process: Process, at: str, *, bind: bool) -> None:
    """The terminal, made while the root can still be written to."""
    if not process.terminal:
        return
    size = process.console_size
    rows, columns = (size.height, size.width) if size else (0, 0)
    owner = process.user.uid | (BIND_CONSOLE if bind else 0)
    build.plan.add("console", build.root, rows & 0xFFFF, columns & 0xFFFF, owner, why=f"{at}.terminal")


def limits(build: Build, process: Process, at: str) -> None:
    """Resource limits and scheduling, set while the process may still raise them."""
    plan = build.plan
    for number, limit in enumerate(process.rlimits):
        plan.add("rlimit", RLIMITS.index(limit.type), limit.soft, limit.hard, why=f"{at}.rlimits[{number}]")
    if process.scheduler:
        plan.add("scheduler", _sched_attr(process.scheduler), why=f"{at}.scheduler")
    if process.io_priority:
        value = _IO_CLASSES[process.io_priority.class_] << 13 | process.io_priority.priority
        plan.add("ioprio", value, why=f"{at}.ioPriority")
    linux = build.config.linux
    if linux and linux.personality:
        plan.add("personality", _PERSONALITIES[linux.personality.domain], why="$.linux.personality")


def memory_policy(build: Build) -> None:
    """The NUMA policy of the first process, which the others inherit."""
    linux = build.config.linux
    if linux is None or linux.memory_policy is None:
        return
    policy = linux.memory_policy
    mode = MEMORY_MODES.index(policy.mode)
    for flag in policy.flags:
        mode |= MEMORY_FLAGS[flag]
    nodes = _bit_mask(ranges.parse(policy.nodes, "$.linux.memoryPolicy.nodes"))
    build.plan.add("memory_policy", mode, nodes, why="$.linux.memoryPolicy")


def affinity(build: Build, cpus: str, at: str) -> None:
    """The CPUs that the process, or the one that makes it, runs on."""
    build.plan.add("affinity", _bit_mask(ranges.parse(cpus, at)), why=at)


def _bit_mask(numbers: list[int]) -> bytes:
    """As an array of unsigned long."""
    bits = sum(1 << number for number in numbers)
    return bits.to_bytes((bits.bit_length() + 63) // 64 * 8, "little")


def _sched_attr(scheduler: Scheduler) -> bytes:
    """struct sched_attr of sched_setattr(2), first version: 48 bytes."""
    flags = 0
    for name in scheduler.flags:
        flags |= _SCHED_FLAGS[name]

    def pack(value: int, size: int) -> bytes:
        return (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")

    return (
        pack(48, 4)
        + pack(_POLICIES[scheduler.policy], 4)
        + pack(flags, 8)
        + pack(scheduler.nice, 4)
        + pack(scheduler.priority, 4)
        + pack(scheduler.runtime, 8)
        + pack(scheduler.deadline, 8)
        + pack(scheduler.period, 8)
    )


def _granted(build: Build, names: list[str], at: str) -> int:
    """The set, less what this host cannot give: that is a warning (config.md, "capabilities")."""
    wanted = mask(names)
    refused = wanted & ~build.host.capabilities
    if refused:
        missing = ", ".join(name for number, name in enumerate(NAMES) if refused >> number & 1)
        build.plan.warnings.append(f"{at}: this host cannot grant {missing}")
    return wanted & build.host.capabilities


def _consistent(build: Build, sets: tuple[int, ...], at: str) -> tuple[int, ...]:
    """The sets less what the kernel refuses in them because another set lacks it: a warning, since such a
    capability cannot be granted (capabilities(7), "Transformation"; config.md, "capabilities")."""
    effective, permitted, inheritable, ambient = sets
    limits = (("effective", effective, permitted), ("ambient", ambient, permitted & inheritable))
    for kind, asked, limit in limits:
        refused = asked & ~limit
        if refused:
            missing = ", ".join(name for number, name in enumerate(NAMES) if refused >> number & 1)
            wanted = "permitted" if kind == "effective" else "permitted and inheritable"
            build.plan.warnings.append(f"{at}.capabilities.{kind}: {missing} would have to be {wanted} too")
    return effective & permitted, permitted, inheritable, ambient & permitted & inheritable


def identity(build: Build, process: Process, at: str, confinement: Confinement | None) -> None:
    """User, groups and capabilities.

    Loading a filter without no_new_privs needs CAP_SYS_ADMIN, and must come last, since the filter may
    forbid what is done before: so that capability stays until then. execve(2) takes it away, since it
    computes the program's sets from the bounding, inheritable and ambient ones (capabilities(7)).
    """
    plan, user = build.plan, process.user
    plan.add("stdio_owner", user.uid, user.gid, why=f"{at}.user: /dev/stdout must open for its user")
    plan.add("cwd", process.cwd, why=f"{at}.cwd, where only root may enter", optional=True)
    if process.no_new_privileges:
        plan.add("no_new_privs", why=f"{at}.noNewPrivileges")
    sets: tuple[int, ...] = ()
    if process.capabilities:
        caps, where = process.capabilities, f"{at}.capabilities"
        plan.add("bounding", _granted(build, caps.bounding, f"{where}.bounding"), why=f"{where}.bounding")
        sets = tuple(
            _granted(build, names, f"{where}.{kind}")
            for kind, names in (
                ("effective", caps.effective),
                ("permitted", caps.permitted),
                ("inheritable", caps.inheritable),
                ("ambient", caps.ambient),
            )
        )
    groups = b"".join(gid.to_bytes(4, "little") for gid in user.additional_gids)
    plan.add("credentials", user.uid, user.gid, groups, why=f"{at}.user")
    if user.umask is not None:
        plan.add("umask", user.umask & 0o777, why=f"{at}.user.umask")
    if sets:
        late = SYS_ADMIN & build.host.capabilities if confinement and not process.no_new_privileges else 0
        effective, permitted, inheritable, ambient = _consistent(build, sets, at)
        first = (effective | late, permitted | late, inheritable, ambient)
        plan.add("capabilities", *first, why=f"{at}.capabilities")
    plan.add("cwd", process.cwd, why=f"{at}.cwd")


def labels(build: Build, process: Process, at: str) -> None:
    """The label that the LSM gives at execve: written to the process's own attribute, on a true procfs.

    Raises Unsupported if the kernel does not run that LSM: the container would be less confined than asked.
    """
    for label, lsm, attribute, field in (
        (
            process.apparmor_profile and f"exec {process.apparmor_profile}",
            "apparmor",
            "apparmor/exec",
            "apparmorProfile",
        ),
        (process.selinux_label, "selinux", "exec", "selinuxLabel"),
    ):
        if label:
            if lsm not in build.host.lsms:
                raise Unsupported(
                    f"{at}.{field} cannot be applied",
                    why=f"{lsm} is not active on this host",
                    hint="leave it out",
                )
            procfs = rootfs.procfs_slot(build)
            plan_path = f"thread-self/attr/{attribute}"
            build.plan.add("write", procfs, plan_path, label, why=f"{at}.{field}")


def last_of_each(env: list[str]) -> list[str]:
    """An environment in which each variable is set once: the last value counts."""
    return list({variable.partition("=")[0]: variable for variable in env}.values())


def search_path(env: list[str]) -> str:
    """The value of PATH that the program is looked up with."""
    for variable in reversed(env):
        if variable.startswith("PATH="):
            return variable[5:]
    return DEFAULT_PATH


def execute(
    build: Build,
    process: Process,
    at: str,
    *,
    confinement: Confinement | None,
    listener: int,
    start_hooks: list[Hook],
    state: str,
) -> None:
    """Wait for ``start``, then the last steps before the program, which a failure of any leaves unstarted."""
    plan = build.plan
    if not process.args:
        plan.add("ready", why="created; but there is nothing to start")
        plan.add("execve", [""], [], why=f"{at} is missing")
        return
    if not any(variable.startswith("HOME=") for variable in process.env):
        plan.add("home", process.user.uid, why=f"{at}.env has no HOME")
    plan.add("lookup", process.args[0], search_path(process.env), why=f"{at}.args[0]")
    plan.add("ready", why="created; the rest is for start")
    hooks(build, start_hooks, "startContainer", state)
    if confinement:
        arguments = (confinement.filter, confinement.flags, listener, confinement.listener_state)
        plan.add("seccomp", *arguments, why=confinement.where)
    plan.add("execve", process.args, last_of_each(process.env), why=f"{at}.args")


def hooks(build: Build, wanted: list[Hook], kind: str, state: str) -> None:
    """Hooks of one kind, in order; each gets the container's state on its standard input."""
    for number, hook in enumerate(wanted):
        args = hook.args or [hook.path]
        where = f"$.hooks.{kind}[{number}]"
        env = INHERIT if hook.env is None else hook.env
        build.plan.add("hook", hook.path, args, env, hook.timeout or 0, state, why=where)


def connect_listener(build: Build, confinement: Confinement | None) -> int:
    """A connection to whoever takes the filter's notifications, made while the host's files can be seen."""
    if not confinement or not confinement.listener_path:
        return NO_SLOT
    slot = build.plan.slot("seccomp-listener")
    build.plan.add("connect", slot, confinement.listener_path, why="$.linux.seccomp.listenerPath")
    return slot
