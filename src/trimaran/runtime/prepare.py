"""From a parsed configuration to everything that is needed to start: plan, cgroups, filter."""

from __future__ import annotations

from trimaran.plan import compile
from trimaran.plan.build import Build
from trimaran.plan.process import Confinement
from trimaran.runtime.facts import host_facts
from trimaran.spec import jsonio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.plan.operations import Plan
    from trimaran.runtime.lifecycle import CreateOptions
    from trimaran.spec.runtime import Config


class Prepared:
    """A container ready to be launched. ``cgroups``: directories to remove with it."""

    __slots__ = ("cgroups", "plan", "rootfs")

    def __init__(self, plan: Plan, rootfs: str, cgroups: list[str]) -> None:
        self.plan = plan
        self.rootfs = rootfs
        self.cgroups = cgroups
