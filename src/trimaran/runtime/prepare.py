"""From a parsed configuration to everything that is needed to start: plan, cgroups, filter."""

from __future__ import annotations

import os

from trimaran.errors import Conflict, Unsupported
from trimaran.plan import cgroups, compile, rdt
from trimaran.plan.build import Build
from trimaran.plan.process import Confinement
from trimaran.runtime import filters
from trimaran.runtime.facts import host_facts
from trimaran.spec import jsonio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.plan.build import CgroupPlan
    from trimaran.plan.host import HostFacts
    from trimaran.plan.operations import Plan
    from trimaran.runtime.creating import CreateOptions
    from trimaran.spec.resources import Resources
    from trimaran.spec.runtime import Config


class Prepared:
    """A container ready to be launched.

    ``cgroups``: directories to remove with it; ``resctrl``: likewise its groups; ``oom``: where the
    monitor hears of a lack of memory, or "".
    """

    __slots__ = ("cgroups", "oom", "plan", "resctrl", "rootfs")

    def __init__(self, plan: Plan, rootfs: str, cgroups: list[str], oom: str, resctrl: list[str]) -> None:
        self.resctrl = resctrl
        self.plan = plan
        self.rootfs = rootfs
        self.cgroups = cgroups
        self.oom = oom


def _cgroups(
    given: str, id: str, resources: Resources | None, facts: HostFacts, manager: str
) -> CgroupPlan | None:
    """The container's cgroups. An ordinary user gets those that were delegated to them."""
    if manager == "systemd":
        raise Unsupported(
            "cgroups cannot be left to systemd yet",
            hint="configure the engine for cgroupfs: leave out --systemd-cgroup",
        )
    if facts.cgroups is None or manager == "disabled":
        return None
    group = cgroups.plan(resources, facts.cgroups, given, id, rootless=facts.rootless)
    for directory in group.directories:
        check_empty(directory)
    if facts.rootless and not all(map(_can_be_made, group.directories)):
        if any(not write.optional for write in group.writes):
            raise Unsupported(
                "resource limits cannot be set",
                why=f"{group.directories[0]} cannot be made by user {facts.uid}",
                hint="have a cgroup delegated to the user, or leave out linux.resources",
            )
        return None
    return group


def check_empty(directory: str) -> None:
    """Raises Conflict if a cgroup has processes: deleting the container would kill them."""
    try:
        with open(f"{directory}/cgroup.procs") as file:
            found = file.read().split()
    except OSError:
        return
    if found:
        raise Conflict(
            f"the cgroup {directory} is not the container's alone",
            why=f"{len(found)} processes are in it",
            hint="choose another linux.cgroupsPath",
        )


def _can_be_made(directory: str) -> bool:
    while not os.path.exists(directory):
        directory = os.path.dirname(directory)
    return os.access(directory, os.W_OK)


def container(id: str, bundle: str, config: Config, options: CreateOptions) -> Prepared:
    """Compile a container. Raises SpecError, Unsupported."""
    facts = host_facts()
    linux = config.linux
    if linux and linux.net_devices:
        raise Unsupported(
            "$.linux.netDevices cannot be applied yet", hint="move the devices in a createRuntime hook"
        )
    resources = linux.resources if linux else None
    if facts.cgroups is None and resources is not None:
        raise Unsupported("resource limits cannot be set", why="this host has no cgroup hierarchy mounted")
    group = _cgroups(linux.cgroups_path if linux else "", id, resources, facts, options.cgroup_manager)
    build = Build(
        config,
        facts,
        id=id,
        bundle=bundle,
        overlay=options.overlay,
        cgroups=group.directories if group else [],
        no_pivot=options.no_pivot,
        new_keyring=options.new_keyring,
    )
    state: dict[str, object] = {
        "ociVersion": config.oci_version,
        "id": id,
        "status": "created",
        "bundle": bundle,
        "annotations": config.annotations,
    }
    text = jsonio.dump(state)
    text = f'{text[:-1]},"pid":@PID@}}'
    plan = compile.create(build, cgroup=group, confinement=confinement(config, state), state=text)
    rootfs = build.absolute(config.root.path) if config.root else ""
    directories = group.directories if group else []
    oom = _oom_source(facts.cgroups.mode if facts.cgroups else "", directories)
    return Prepared(plan, rootfs, directories, oom, rdt.directories(build))


def _oom_source(mode: str, directories: list[str]) -> str:
    if mode == "v2":
        return f"{directories[0]}/memory.events" if directories else ""
    return next((path for path in directories if "/memory/" in path), "")


def confinement(config: Config, state: dict[str, object]) -> Confinement | None:
    """The filter of the configuration, compiled; None if it has none."""
    profile = config.linux.seccomp if config.linux else None
    if filters.wanted(config):
        return filters.default_confinement(config)
    if profile is None:
        return None
    from trimaran.plan.seccomp import compile_profile

    compiled = compile_profile(profile, os.uname().machine)
    container_state = ""
    if compiled.listens:
        # seccomp-notify: the container process state (config-linux.md, "The Container Process State").
        text = jsonio.dump(
            {"ociVersion": config.oci_version, "fds": ["seccompFd"], "metadata": profile.listener_metadata}
        )
        container_state = (
            f'{text[:-1]},"pid":@PID@,"state":{jsonio.dump({**state, "status": "creating", "pid": 0})}}}'
        )
    return Confinement(
        compiled.program,
        compiled.flags,
        listener_path=profile.listener_path if compiled.listens else "",
        listener_state=container_state,
        where="$.linux.seccomp",
    )
