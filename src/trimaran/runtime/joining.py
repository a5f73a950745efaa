"""One more process in a container that runs: exec."""

from __future__ import annotations

from trimaran.errors import Conflict
from trimaran.plan import compile
from trimaran.plan.build import Build
from trimaran.plan.namespaces import FILES, Namespaces
from trimaran.runtime import lifecycle, prepare
from trimaran.runtime.facts import host_facts
from trimaran.spec.linux import Namespace
from trimaran.spec.runtime import Config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from trimaran.plan.operations import Plan
    from trimaran.runtime.store import Entry
    from trimaran.spec.runtime import Process


def plan_exec(entry: Entry, state: dict[str, Any], process: Process, *, new_keyring: bool = True) -> Plan:
    """The plan of a process that joins. Raises Conflict unless the container is created or running."""
    now = lifecycle.status(entry, state)
    if now not in ("running", "created"):
        raise Conflict(f"cannot run a process in container {entry.id}", why=f"it is {now}")
    config = Config.parse(entry.config())
    build = Build(config, host_facts(), id=entry.id, bundle=state["bundle"], new_keyring=new_keyring)
    return compile.join(
        build,
        process,
        spaces=_namespaces(config, state["pid"]),
        cgroups=state["cgroups"],
        confinement=prepare.confinement(config, state),
    )


def _namespaces(config: Config, pid: int) -> Namespaces:
    """All that the configuration names, as the first process has them."""
    wanted = config.linux.namespaces if config.linux else []
    return Namespaces(
        [Namespace(type=n.type, path=f"/proc/{pid}/ns/{FILES.get(n.type, n.type)}") for n in wanted]
    )
