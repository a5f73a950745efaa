"""One more process in a container that runs: exec."""

from __future__ import annotations

import os

from trimaran.errors import Conflict, InvalidInput, NotFound
from trimaran.plan import compile
from trimaran.plan.build import Build
from trimaran.plan.namespaces import FILES, Namespaces
from trimaran.runtime import lifecycle, prepare
from trimaran.runtime.cgroups.layout import own_paths
from trimaran.runtime.facts import host_facts
from trimaran.spec.linux import Namespace
from trimaran.spec.runtime import Config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from trimaran.plan.operations import Plan
    from trimaran.runtime.store import Entry
    from trimaran.spec.runtime import Process


def plan_exec(
    entry: Entry,
    state: dict[str, Any],
    process: Process,
    *,
    new_keyring: bool = True,
    sub_cgroups: Sequence[str] = (),
    ignore_paused: bool = False,
) -> Plan:
    """The plan of a process that joins. Raises Conflict unless the container is created or running.

    ``sub_cgroups``: ``PATH`` or ``CONTROLLERS:PATH``, below the container's cgroup. With ``ignore_paused``,
    the process of a paused container waits until that is resumed.
    """
    now = lifecycle.status(entry, state)
    if now not in ("running", "created", "paused") or (now == "paused" and not ignore_paused):
        hint = "resume it first" if now == "paused" else ""
        raise Conflict(f"cannot run a process in container {entry.id}", why=f"it is {now}", hint=hint)
    config = Config.parse(entry.config())
    build = Build(config, host_facts(), id=entry.id, bundle=state["bundle"], new_keyring=new_keyring)
    return compile.join(
        build,
        process,
        spaces=_namespaces(config, state["pid"]),
        cgroups=_cgroups(state["cgroups"], sub_cgroups, state["pid"]),
        confinement=prepare.confinement(config, state),
        root=f"/proc/{state['pid']}/root",
    )


def _cgroups(directories: list[str], sub_cgroups: Sequence[str], pid: int) -> list[str]:
    """The cgroups that the process joins: the container's, or those below it that are named."""
    layout = host_facts().cgroups
    mounts = layout.mounts if layout else {}
    chosen = list(directories)
    for given in sub_cgroups:
        controllers, colon, path = given.rpartition(":")
        wanted = set(controllers.split(",")) if colon else set()
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise InvalidInput(f"--cgroup {given} leads upwards", hint="leave out ..")
        below = "/".join(parts)
        found = 0
        for number, directory in enumerate(directories):
            names = {name for name, mount in mounts.items() if directory.startswith(f"{mount}/")}
            if below and (not wanted or wanted & names) and os.path.isdir(f"{directory}/{below}"):
                chosen[number] = f"{directory}/{below}"
                found += 1
        if below and not found:
            raise NotFound(f"the container has no cgroup {path}", hint="make it first: exec only joins")
    return chosen if sub_cgroups else _where_it_is(chosen, pid)


def _where_it_is(directories: list[str], pid: int) -> list[str]:
    """A v2 cgroup that passes controllers on takes no processes: then the first process has moved below."""
    if len(directories) != 1 or not os.path.exists(f"{directories[0]}/cgroup.subtree_control"):
        return directories
    with open(f"{directories[0]}/cgroup.subtree_control") as file:
        if not file.read().strip():
            return directories
    layout = host_facts().cgroups
    with open(f"/proc/{pid}/cgroup") as file:
        path = own_paths(file.read()).get("", "")
    moved = f"{layout.mounts['']}{path}" if layout else ""
    return [moved] if moved.startswith(f"{directories[0]}/") else directories


def _namespaces(config: Config, pid: int) -> Namespaces:
    """All that the configuration names, as the first process has them."""
    wanted = config.linux.namespaces if config.linux else []
    return Namespaces(
        [Namespace(type=n.type, path=f"/proc/{pid}/ns/{FILES.get(n.type, n.type)}") for n in wanted]
    )
