"""From a configuration to a plan: the order of things, and nothing else.

:func:`create` compiles a container's first process, :func:`join` one more process for a container that
runs. Both are pure: the same configuration and facts always give the same plan.
"""

from __future__ import annotations

from trimaran.errors import SpecError
from trimaran.plan import namespaces, process, rdt, rootfs
from trimaran.plan.cgroups import PATH, split
from trimaran.plan.namespaces import MAPPED, Namespaces
from trimaran.plan.operations import NO_SLOT
from trimaran.spec.runtime import Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.plan.build import Build, CgroupPlan
    from trimaran.plan.operations import Plan
    from trimaran.plan.process import Confinement
    from trimaran.spec.runtime import Hooks

MOUNTED, HOOKED = 2, 3
"""Phases: the child's mounts stand, before the root changes; the parent has run the runtime's hooks."""
NO_PROCESS = Process(cwd="/")
"""Stands for a process that the configuration lacks: the container can be created, but not started."""
_O_PATH, _O_DIRECTORY = 0o10000000, 0o200000


def create(
    build: Build, *, cgroup: CgroupPlan | None, confinement: Confinement | None, state: str = ""
) -> Plan:
    """The plan of a container's first process.

    ``cgroup``: the limits, planned already; ``confinement``: the filter, compiled already; ``state``: the
    OCI state as JSON text for hooks, with ``@PID@`` for the process. Raises SpecError for what cannot be
    planned.
    """
    config = build.config
    first = config.process or NO_PROCESS
    spaces = Namespaces(config.linux.namespaces if config.linux else [])
    hooks = config.hooks
    joined = namespaces.open_joined(build, spaces)
    listener = process.connect_listener(build, confinement)
    sources = rootfs.open_sources(build, spaces, joined)
    devices = rootfs.prepare_devices(build, spaces)
    _parent(build, spaces, cgroup, hooks, state, first)
    namespaces.enter(build, spaces, joined)
    _prepare(build, spaces)
    _files(build, spaces, sources, devices, first, hooks, state)
    _become(build, first, confinement, listener, hooks, state)
    return build.plan


def _parent(
    build: Build,
    spaces: Namespaces,
    cgroup: CgroupPlan | None,
    hooks: Hooks | None,
    state: str,
    first: Process,
) -> None:
    """The calling process's part: cgroups, clone, id maps, hooks of the runtime."""
    plan = build.plan
    if cgroup:
        cgroup_files(build, cgroup)
    rdt.make_group(build)
    into, entered = split(cgroup.join if cgroup else [], build.host.cgroups)
    closed = cgroup is not None and cgroup.closed
    namespaces.clone(build, spaces, NO_SLOT if closed else _birthplace(build, into))
    namespaces.map_ids(build, spaces)
    if closed and into:
        plan.add("join_cgroup", into, why=PATH)
    rdt.enroll(build)
    if first.oom_score_adj is not None:
        plan.add("proc_write", "oom_score_adj", str(first.oom_score_adj), why="$.process.oomScoreAdj")
    plan.add("send", MAPPED, why="the child goes on")
    if hooks and (hooks.prestart or hooks.create_runtime):
        plan.add("recv", MOUNTED, why="$.hooks: the runtime's hooks run when the mounts stand")
        process.hooks(build, hooks.prestart, "prestart", state)
        process.hooks(build, hooks.create_runtime, "createRuntime", state)
        plan.add("send", HOOKED, why="the child goes on")
    plan.add("child", why="from here on, the new process")
    for path in entered:
        plan.add("enter_cgroup", path, why=PATH)


def _birthplace(build: Build, directory: str) -> int:
    """The v2 cgroup that the process is born into (CLONE_INTO_CGROUP): nothing of it escapes the limits."""
    if not directory:
        return NO_SLOT
    slot = build.plan.slot("cgroup")
    build.plan.add("open", slot, directory, _O_PATH | _O_DIRECTORY, why=PATH)
    return slot


def cgroup_files(build: Build, cgroup: CgroupPlan) -> None:
    """The container's cgroups and their limits, before anything runs in them."""
    plan = build.plan
    for path in cgroup.directories:
        plan.add("mkdirs", NO_SLOT, path, 0o755, why="$.linux.cgroupsPath")
    for write in cgroup.writes:
        if write.other:
            plan.add(
                "write_either", write.path, write.text, *write.other, why=write.why, optional=write.optional
            )
        else:
            plan.add("write", NO_SLOT, write.path, write.text, why=write.why, optional=write.optional)
    if cgroup.device_program:
        plan.add("cgroup_device", *cgroup.device_program, why="$.linux.resources.devices")


def _prepare(build: Build, spaces: Namespaces) -> None:
    plan, config = build.plan, build.config
    plan.add("dumpable", 0, why="nobody in the container may read or trace the runtime's process")
    plan.add("session", why="signals of the caller's terminal are not the container's")
    if build.new_keyring:
        plan.add(
            "keyring", f"_ses.{build.id}", why="the caller's keys are not the container's", optional=True
        )
    if "network" in spaces.created:
        plan.add("loopback", why="a new network namespace's loopback device is down", optional=True)
    if config.hostname and "uts" in spaces.created | set(spaces.joined):
        plan.add("hostname", config.hostname, why="$.hostname")
    if config.domainname:
        plan.add("domainname", config.domainname, why="$.domainname")


def _files(
    build: Build,
    spaces: Namespaces,
    sources: dict[int, int],
    devices: dict[str, int],
    first: Process,
    hooks: Hooks | None,
    state: str,
) -> None:
    """Mounts while the host's files can still be seen, then the change of root, then what hides paths."""
    plan = build.plan
    if spaces.own_mounts:
        rootfs.make_root(build)
        rootfs.make_mounts(build, spaces, sources)
        rootfs.make_devices(build, spaces, devices)
    else:
        rootfs.open_root(build)
    process.console(build, first, "$.process", bind=spaces.own_mounts)
    plan.add("mkdirs", build.root, first.cwd, 0o755, why="$.process.cwd")
    if hooks and (hooks.prestart or hooks.create_runtime):
        plan.add("send", MOUNTED, why="the runtime's hooks may run")
        plan.add("recv", HOOKED, why="the runtime's hooks have run")
    if hooks:
        process.hooks(build, hooks.create_container, "createContainer", state)
    if spaces.own_mounts:
        rootfs.change_root(build)
    else:
        plan.add("chroot", build.root, why="$.root, without a mount namespace")
    rootfs.finish(build, spaces)


def _become(
    build: Build,
    first: Process,
    confinement: Confinement | None,
    listener: int,
    hooks: Hooks | None,
    state: str,
) -> None:
    process.limits(build, first, "$.process")
    process.memory_policy(build)
    process.labels(build, first, "$.process")
    process.identity(build, first, "$.process", confinement)
    process.execute(
        build,
        first,
        "$.process",
        confinement=confinement,
        listener=listener,
        start_hooks=hooks.start_container if hooks else [],
        state=state,
    )


def join(
    build: Build,
    joining: Process,
    *,
    spaces: Namespaces,
    cgroups: list[str],
    confinement: Confinement | None,
    root: str = "",
) -> Plan:
    """The plan of one more process: it enters the container's namespaces and cgroups.

    ``spaces`` names all namespaces to join by path; ``cgroups`` the directories to join; ``root`` is a path
    to the container's root, such as ``/proc/PID/root`` (without it, that of its mount namespace is taken).
    """
    if not joining.args:
        raise SpecError("$.args", "is missing", hint="say which program to run")
    plan = build.plan
    joined = namespaces.open_joined(build, spaces)
    if root:
        plan.add("open", build.root, root, _O_PATH | _O_DIRECTORY, why="the container's root, as it has it")
    listener = process.connect_listener(build, confinement)
    affinity = joining.exec_cpu_affinity
    if affinity and affinity.initial:
        process.affinity(build, affinity.initial, "$.execCPUAffinity.initial")
    into, entered = split(cgroups, build.host.cgroups)
    plan.add("clone", 0, _birthplace(build, into), why="one more process")
    if joining.oom_score_adj is not None:
        plan.add("proc_write", "oom_score_adj", str(joining.oom_score_adj), why="$.oomScoreAdj")
    plan.add("send", MAPPED, why="the child goes on")
    plan.add("child", why="from here on, the new process")
    for path in entered:
        plan.add("enter_cgroup", path, why="the container's limits")
    plan.add("dumpable", 0, why="nobody in the container may read or trace the runtime's process")
    namespaces.enter(build, spaces, joined)
    plan.add("dumpable", 0, why="a change of user or a fork may have reset it")
    plan.add("session", why="signals of the caller's terminal are not the container's")
    if build.new_keyring:
        plan.add(
            "keyring", f"_ses.{build.id}", why="the caller's keys are not the container's", optional=True
        )
    if root:
        # Joining a mount namespace leads to the root of its mounts, which need not be the container's.
        plan.add("chroot", build.root, why="the container's root, as it has it")
    else:
        plan.add("open", build.root, "/", _O_PATH | _O_DIRECTORY, why="the container's root")
    process.console(build, joining, "$", bind=False)
    if affinity and affinity.final:
        process.affinity(build, affinity.final, "$.execCPUAffinity.final")
    process.limits(build, joining, "$")
    process.labels(build, joining, "$")
    process.identity(build, joining, "$", confinement)
    process.execute(build, joining, "$", confinement=confinement, listener=listener, start_hooks=[], state="")
    return plan
