"""Facts about the host that a plan depends on; gathered by trimaran.runtime.facts, data here."""

from __future__ import annotations


class CgroupLayout:
    """Where the host's cgroup hierarchies are (cgroups(7)).

    ``mode``: ``v1``, ``v2`` or ``hybrid`` (v1 controllers beside a v2 hierarchy that has few or none).
    ``mounts``: controller to mount point, the named hierarchy as ``name=systemd``, the v2 one as ``""``.
    ``own``: likewise the path of this process's cgroup in each, from the hierarchy's root. ``cpuset``: all
    CPUs and memory nodes of the host, as v1 wants them written.
    """

    __slots__ = ("cpuset", "mode", "mounts", "own")

    def __init__(
        self, mode: str, mounts: dict[str, str], own: dict[str, str], cpuset: tuple[str, str] = ("0", "0")
    ) -> None:
        self.cpuset = cpuset
        self.mode = mode
        self.mounts = mounts
        self.own = own


class HostFacts:
    """What this process may do and what the kernel has.

    ``capabilities``: mask of what this process may pass on (permitted and in the bounding set);
    ``kernel``: version as (major, minor); ``lsms``: names of /sys/kernel/security/lsm; ``uid``
    and ``gid``: this process's; ``resctrl``: where that file system is mounted, or "".
    """

    __slots__ = ("capabilities", "cgroups", "gid", "kernel", "lsms", "resctrl", "uid")

    def __init__(
        self,
        *,
        capabilities: int,
        kernel: tuple[int, int],
        uid: int,
        gid: int,
        cgroups: CgroupLayout | None,
        lsms: frozenset[str] = frozenset(),
        resctrl: str = "",
    ) -> None:
        self.capabilities = capabilities
        self.kernel = kernel
        self.uid = uid
        self.gid = gid
        self.cgroups = cgroups
        self.lsms = lsms
        self.resctrl = resctrl

    @property
    def rootless(self) -> bool:
        """Whether this process lacks the right to administer the host (CAP_SYS_ADMIN)."""
        return not self.capabilities >> 21 & 1
