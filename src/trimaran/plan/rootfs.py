"""The container's file systems: the root, its mounts, devices, and what is hidden (config-linux.md)."""

from __future__ import annotations

from trimaran.errors import SpecError, Unsupported
from trimaran.plan.mount_options import (
    IDMAP,
    MS_PRIVATE,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
    NODEV,
    NOEXEC,
    NOSUID,
    RDONLY,
    MountOptions,
)
from trimaran.plan.namespaces import id_lines
from trimaran.plan.operations import NO_SLOT
from trimaran.spec.validate_linux import sysctl_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.plan.build import Build
    from trimaran.plan.namespaces import Namespaces
    from trimaran.spec.runtime import Mount

RECURSIVE = 1  # of operation tree
NO_LINKS = 1  # of operation attach
_O_PATH, _O_DIRECTORY = 0o10000000, 0o200000
_S_IFCHR, _S_IFBLK, _S_IFIFO = 0o020000, 0o060000, 0o010000
_KINDS = {"c": _S_IFCHR, "u": _S_IFCHR, "b": _S_IFBLK, "p": _S_IFIFO}

# path, major, minor (config-linux.md, "Default Devices"; devices of admin-guide/devices.txt)
DEFAULT_DEVICES = (
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
)
_DEFAULT_LINKS = (
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
)
_PROPAGATION = {
    "": MS_SLAVE | MS_REC,
    "private": MS_PRIVATE,
    "rprivate": MS_PRIVATE | MS_REC,
    "slave": MS_SLAVE,
    "rslave": MS_SLAVE | MS_REC,
    "shared": MS_SHARED,
    "rshared": MS_SHARED | MS_REC,
    "unbindable": MS_UNBINDABLE,
    "runbindable": MS_UNBINDABLE | MS_REC,
}


def make_root(build: Build) -> None:
    """The root file system, mounted where only this mount namespace sees it."""
    plan, config = build.plan, build.config
    assert config.root is not None
    propagation = config.linux.rootfs_propagation if config.linux else ""
    why = "$.linux.rootfsPropagation" if propagation else "the host must not see the container's mounts"
    # pivot_root(2) wants the parent of the new root not to be shared: that stays a slave in any case.
    before = MS_PRIVATE | MS_REC if propagation.endswith("private") else MS_SLAVE | MS_REC
    plan.add("propagation", before, why=why)
    if build.overlay:
        overlay = build.overlay
        arguments = (overlay.lower, overlay.upper, overlay.work, overlay.scratch, overlay.options, 0)
        plan.add("overlay", build.root, *arguments, why="the image's layers")
        plan.add("attach", build.root, NO_SLOT, overlay.scratch, 0, why="the root must be a mount point")
    else:
        path = build.absolute(config.root.path)
        plan.add("tree", build.root, NO_SLOT, path, RECURSIVE, why="$.root.path")
        plan.add("attach", build.root, NO_SLOT, path, 0, why="the root must be a mount point")


def open_root(build: Build) -> None:
    """The root file system as it is, for a container without a mount namespace."""
    assert build.config.root is not None
    path = build.absolute(build.config.root.path)
    build.plan.add("open", build.root, path, _O_PATH | _O_DIRECTORY, why="$.root.path")


def open_sources(build: Build, namespaces: Namespaces, joined: dict[str, int]) -> dict[int, int]:
    """Slots of the binds that only the calling process can take: by the number of the mount.

    In a user namespace the process may be unable to reach a source, and cannot give it an id map. What is
    named by a descriptor is a mount of the host's namespace, of which the process has only a copy.
    """
    slots: dict[int, int] = {}
    for number, mount in enumerate(build.config.mounts):
        options = MountOptions(mount.options)
        mapped = bool(options.idmap or mount.uid_mappings)
        if not (options.bind or mount.type == "bind"):
            if mapped:
                raise SpecError(f"$.mounts[{number}]", "only a bind mount can have an id map")
        elif namespaces.own_mounts and (
            mapped or (namespaces.own_user and not build.host.rootless) or _by_descriptor(mount.source)
        ):
            slots[number] = _open_source(build, mount, options, joined, f"$.mounts[{number}]")
    return slots


def _by_descriptor(source: str) -> bool:
    """Whether it is ``/proc/PID/fd/N``: proc(5)."""
    parts = source.split("/")
    return len(parts) == 5 and parts[1] == "proc" and parts[3] == "fd"


def _open_source(build: Build, mount: Mount, options: MountOptions, joined: dict[str, int], why: str) -> int:
    plan = build.plan
    slot = plan.slot(mount.destination)
    source = build.absolute(mount.source)
    plan.add("tree", slot, NO_SLOT, source, RECURSIVE if options.bind == 2 else 0, why=why)
    if options.idmap or mount.uid_mappings:
        owner = joined.get("user", NO_SLOT)
        linux = build.config.linux
        uids, gids = mount.uid_mappings, mount.gid_mappings
        if not uids and linux and linux.uid_mappings:
            uids, gids = linux.uid_mappings, linux.gid_mappings
        if uids:
            owner = plan.slot(f"idmap-{mount.destination}")
            plan.add("user_namespace", owner, id_lines(uids), id_lines(gids), why=f"{why}.uidMappings")
        recursive = 1 if options.idmap == 2 else 0
        plan.add("setattr", slot, IDMAP, 0, 0, recursive, owner, why=why)
    return slot


def make_mounts(build: Build, namespaces: Namespaces, sources: dict[int, int]) -> None:
    """The mounts of the configuration, in its order; ``sources`` are those that are open already."""
    from trimaran.plan import cgroup_mount

    for number, mount in enumerate(build.config.mounts):
        why = f"$.mounts[{number}]"
        options = MountOptions(mount.options)
        if options.bind or mount.type == "bind":
            _bind(build, mount, options, sources.get(number), why)
        elif mount.type == "cgroup":
            cgroup_mount.make(build, namespaces, mount, options, why)
        else:
            _filesystem(build, mount, options, why)


def _bind(build: Build, mount: Mount, options: MountOptions, slot: int | None, why: str) -> None:
    plan = build.plan
    if options.data:
        build.plan.warnings.append(f"{why}.options: {','.join(options.data)} has no meaning for a bind mount")
    if slot is None:
        slot = plan.slot(mount.destination)
        source = build.absolute(mount.source)
        plan.add("tree", slot, NO_SLOT, source, RECURSIVE if options.bind == 2 else 0, why=why)
    set_attributes(build, slot, options, why)
    plan.add("attach", slot, build.root, mount.destination, 0, why=why)
    set_propagation(build, slot, options, why)


def _filesystem(build: Build, mount: Mount, options: MountOptions, why: str) -> None:
    plan = build.plan
    slot = plan.slot(mount.destination)
    source = mount.source or mount.type
    data = [*options.data, *_label(build, mount)]
    copy_up = options.copy_up and mount.type == "tmpfs"
    plan.add(
        "filesystem",
        slot,
        mount.type,
        source,
        data,
        options.set & ~RDONLY if copy_up else options.set,
        why=why,
    )
    if copy_up:
        plan.add("copy_up", slot, build.root, mount.destination, why=f"{why}.options: tmpcopyup")
        if options.set & RDONLY:
            plan.add("setattr", slot, RDONLY, 0, 0, 0, NO_SLOT, why=why)
    # A link in the image must not put the kernel's files where they are not expected.
    links = NO_LINKS if mount.type in ("proc", "sysfs") else 0
    plan.add("attach", slot, build.root, mount.destination, links, why=why)
    recursive = MountOptions([])
    recursive.recursive_set, recursive.recursive_clear = options.recursive_set, options.recursive_clear
    set_attributes(build, slot, recursive, why)
    set_propagation(build, slot, options, why)


def _label(build: Build, mount: Mount) -> list[str]:
    """The SELinux context of a file system that has none of its own."""
    label = build.config.linux.mount_label if build.config.linux else ""
    if not label or mount.type in ("proc", "sysfs", "mqueue"):
        return []
    if "selinux" not in build.host.lsms:
        raise Unsupported(
            "$.linux.mountLabel cannot be applied",
            why="selinux is not active on this host",
            hint="leave it out",
        )
    return [f"context={label}"]


def set_attributes(build: Build, slot: int, options: MountOptions, why: str) -> None:
    """Flags of a mount that exists already; first those that all below shall have too."""
    if options.recursive_set or options.recursive_clear:
        build.plan.add(
            "setattr", slot, options.recursive_set, options.recursive_clear, 0, 1, NO_SLOT, why=why
        )
    if options.set or options.clear:
        build.plan.add("setattr", slot, options.set, options.clear, 0, 0, NO_SLOT, why=why)


def set_propagation(build: Build, slot: int, options: MountOptions, why: str) -> None:
    """How mounts below spread; set once the mount is in its place."""
    if options.propagation:
        recursive = 1 if options.propagation_recursive else 0
        build.plan.add("setattr", slot, 0, 0, options.propagation, recursive, NO_SLOT, why=why)


class _Node:
    """A device node to make: path, mode with type, numbers, owner in the container, and why."""

    def __init__(
        self, path: str, mode: int, device: tuple[int, int], owner: tuple[int, int], why: str
    ) -> None:
        self.path = path
        self.mode = mode
        self.device = device[0] << 32 | device[1]
        self.owner = owner
        self.why = why


def _nodes(build: Build) -> list[_Node]:
    """All device nodes; none where the host's /dev is mounted."""
    linux = build.config.linux
    if any(
        m.destination.rstrip("/") == "/dev" and "bind" in (m.type, *m.options) for m in build.config.mounts
    ):
        return []
    asked = linux.devices if linux else []
    taken = {device.path for device in asked}
    nodes = [
        _Node(path, _S_IFCHR | 0o666, (major, minor), (0, 0), "a default device")
        for path, major, minor in DEFAULT_DEVICES
        if path not in taken
    ]
    for number, device in enumerate(asked):
        mode = _KINDS[device.type] | (0o666 if device.file_mode is None else device.file_mode & 0o7777)
        owner = device.uid or 0, device.gid or 0
        why = f"$.linux.devices[{number}]"
        nodes.append(_Node(device.path, mode, (device.major, device.minor), owner, why))
    return nodes


def prepare_devices(build: Build, namespaces: Namespaces) -> dict[str, int]:
    """Slots of the devices of a container with a user namespace, in which none can be made.

    The calling process makes them in a file system that is mounted nowhere, from which they are bound. An
    ordinary user cannot: then the host's devices are bound.
    """
    nodes = _nodes(build)
    slots: dict[str, int] = {}
    if not (namespaces.own_user and namespaces.own_mounts and nodes) or build.host.rootless:
        return slots
    plan = build.plan
    base = plan.slot("devices")
    plan.add("filesystem", base, "tmpfs", "devices", ["mode=711"], NOSUID | NOEXEC, why="$.linux.devices")
    for number, node in enumerate(nodes):
        uid, gid = _outside(build, node.owner)
        plan.add("mknod", base, str(number), node.mode, node.device, uid, gid, why=node.why)
        slots[node.path] = plan.slot(node.path)
        plan.add("tree", slots[node.path], base, str(number), 0, why=node.why)
    return slots


def _outside(build: Build, owner: tuple[int, int]) -> tuple[int, int]:
    """The owner's numbers outside of the user namespace; those that are not mapped are left to the host."""
    linux = build.config.linux
    assert linux is not None
    result = []
    for id, maps in zip(owner, (linux.uid_mappings, linux.gid_mappings), strict=True):
        mapped = (m.host_id + id - m.container_id for m in maps if 0 <= id - m.container_id < m.size)
        result.append(next(mapped, 0))
    return result[0], result[1]


def make_devices(build: Build, namespaces: Namespaces, prepared: dict[str, int]) -> None:
    """Device nodes and the links of /dev, unless the host's /dev is mounted there."""
    plan, nodes = build.plan, _nodes(build)
    for node in nodes:
        parent = node.path.rpartition("/")[0]
        if parent not in ("", "/dev"):
            plan.add("mkdirs", build.root, parent, 0o755, why=node.why)
        if not namespaces.own_user:
            arguments = (node.path, node.mode, node.device, *node.owner)
            plan.add("mknod", build.root, *arguments, why=node.why)
            continue
        slot = prepared.get(node.path)
        if slot is None:
            slot = plan.slot(node.path)
            plan.add("tree", slot, NO_SLOT, node.path, 0, why=node.why)
        plan.add("attach", slot, build.root, node.path, 0, why=node.why)
    if not nodes:
        return
    for path, target in _DEFAULT_LINKS:
        plan.add("symlink", build.root, path, target, why="a default link")
    if any(m.type == "devpts" for m in build.config.mounts):
        plan.add("symlink", build.root, "/dev/ptmx", "pts/ptmx", why="the container's own terminals")


def change_root(build: Build) -> None:
    """The root becomes /, and the host's is out of reach."""
    if build.no_pivot:
        build.plan.add("switch_root", build.root, why="--no-pivot")
    else:
        build.plan.add("pivot", build.root, why="$.root")


def finish(build: Build, namespaces: Namespaces) -> None:
    """What is set when all mounts stand: propagation, kernel settings, hidden paths, a read-only root."""
    plan, config, linux = build.plan, build.config, build.config.linux
    assert config.root is not None
    if linux:
        propagation = _PROPAGATION[linux.rootfs_propagation]
        if linux.rootfs_propagation and namespaces.own_mounts:
            plan.add("propagation", propagation, why="$.linux.rootfsPropagation")
        if linux.sysctl:
            procfs = procfs_slot(build)
            for name, value in linux.sysctl.items():
                plan.add("write", procfs, f"sys/{sysctl_path(name)}", value, why=f'$.linux.sysctl["{name}"]')
        for number, path in enumerate(linux.readonly_paths):
            plan.add("readonly", build.root, path, why=f"$.linux.readonlyPaths[{number}]")
        for number, path in enumerate(linux.masked_paths):
            plan.add("mask", build.root, path, why=f"$.linux.maskedPaths[{number}]")
    if config.root.readonly and namespaces.own_mounts:
        plan.add("setattr", build.root, RDONLY, 0, 0, 0, NO_SLOT, why="$.root.readonly")


def procfs_slot(build: Build) -> int:
    """A procfs of the container's PID namespace that is mounted nowhere: nothing in the image can stand in
    for a file of it."""
    if "procfs" in build.plan.slots:
        return build.plan.slots.index("procfs")
    slot = build.plan.slot("procfs")
    attributes = NOSUID | NODEV | NOEXEC
    build.plan.add(
        "filesystem", slot, "proc", "proc", [], attributes, why="settings are written to a true procfs"
    )
    return slot
