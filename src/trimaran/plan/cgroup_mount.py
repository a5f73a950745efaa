"""A mount of type ``cgroup``: the container's own part of each hierarchy, in the form of the host's."""

from __future__ import annotations

from trimaran.plan.mount_options import NODEV, NOEXEC, NOSUID, RDONLY
from trimaran.plan.operations import NO_SLOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.plan.build import Build
    from trimaran.plan.mount_options import MountOptions
    from trimaran.plan.namespaces import Namespaces
    from trimaran.spec.runtime import Mount

_SAFE = NOSUID | NODEV | NOEXEC


def make(build: Build, spaces: Namespaces, mount: Mount, options: MountOptions, why: str) -> None:
    """Mounts the hierarchies at the mount's destination; nothing if the host has none.

    In a cgroup namespace of its own the container mounts them itself, and its cgroup is their root;
    otherwise its part of the host's is bound.
    """
    layout = build.host.cgroups
    if layout is None:
        return
    own = "cgroup" in spaces.created
    if layout.mode == "v2":
        _hierarchy(build, own, "", mount.destination, options, why)
        return
    slot = build.plan.slot(mount.destination)
    tmpfs = ["mode=755", "size=65536k"]
    build.plan.add("filesystem", slot, "tmpfs", "cgroup", tmpfs, _SAFE, why=why)
    build.plan.add("attach", slot, build.root, mount.destination, 0, why=why)
    for directory, controller in _by_mount(layout.mounts).items():
        name = directory.rpartition("/")[2]
        target = f"{mount.destination}/{name}"
        build.plan.add("mkdirs", build.root, target, 0o755, why=why)
        _hierarchy(build, own, controller, target, options, why)
    for controller, directory in layout.mounts.items():
        name = directory.rpartition("/")[2]
        if controller not in ("", name) and controller in name.split(","):
            build.plan.add("symlink", build.root, f"{mount.destination}/{controller}", name, why=why)
    if options.set & RDONLY:
        build.plan.add("setattr", slot, RDONLY, 0, 0, 0, NO_SLOT, why=why)


def _by_mount(mounts: dict[str, str]) -> dict[str, str]:
    """Each mount point once, with all its controllers."""
    result: dict[str, str] = {}
    for controller, directory in mounts.items():
        result[directory] = f"{result[directory]},{controller}" if directory in result else controller
    return result


def _hierarchy(
    build: Build, own: bool, controllers: str, target: str, options: MountOptions, why: str
) -> None:
    plan, layout = build.plan, build.host.cgroups
    assert layout is not None
    attributes = _SAFE | options.set
    if own and not build.host.rootless and not _in_user_namespace(build):
        kind = "cgroup" if controllers else "cgroup2"
        # A named hierarchy has no controller: "none" asks for just the name.
        wanted = controllers.split(",") if controllers else []
        wanted = ["none", *wanted] if controllers.startswith("name=") else wanted
        slot = plan.slot(target)
        plan.add("filesystem", slot, kind, "cgroup", wanted, attributes, why=why)
    else:
        mount = layout.mounts[controllers.partition(",")[0]]
        path = next((path for path in build.cgroups if path.startswith(f"{mount}/")), None)
        if path is None:
            # Nothing is asked of these controllers: the container has no part there to be shown.
            return
        slot = plan.slot(target)
        plan.add("tree", slot, NO_SLOT, path, 0, why=why)
        plan.add("setattr", slot, attributes, 0, 0, 0, NO_SLOT, why=why)
    plan.add("attach", slot, build.root, target, 0, why=why)


def _in_user_namespace(build: Build) -> bool:
    linux = build.config.linux
    return linux is not None and any(n.type == "user" for n in linux.namespaces)
