"""A mount of type ``cgroup``: the container's own part of each hierarchy, in the form of the host's."""

from __future__ import annotations

from trimaran.plan import rootfs
from trimaran.plan.mount_options import NODEV, NOEXEC, NOSUID, RDONLY, MountOptions
from trimaran.plan.operations import NO_SLOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.plan.build import Build
    from trimaran.plan.namespaces import Namespaces
    from trimaran.spec.runtime import Mount

_SAFE = NOSUID | NODEV | NOEXEC


def make(build: Build, spaces: Namespaces, mount: Mount, options: MountOptions, why: str) -> None:
    """Mounts the hierarchies; nothing if the host has none."""
