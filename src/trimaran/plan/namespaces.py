"""Which namespaces a process gets: created with it, or joined (config-linux.md, "Namespaces")."""

from __future__ import annotations

from trimaran.plan.operations import NO_SLOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.plan.build import Build
    from trimaran.spec.linux import IDMapping, Namespace

# CLONE_NEW* of namespaces(7)
FLAGS = {
    "time": 0x00000080,
    "mount": 0x00020000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "network": 0x40000000,
}
# Of the file in /proc/PID/ns.
FILES = {"network": "net", "mount": "mnt"}
# Joining the user namespace first gives the rights to join the others.
_JOIN_ORDER = ("user", "ipc", "uts", "network", "cgroup", "mount", "pid", "time")
_O_RDONLY = 0

MAPPED = 1
"""Phase: the parent has written the id maps."""


class Namespaces:
    """The namespaces of a configuration, sorted by how the process gets them."""

    __slots__ = ("created", "joined", "where")

    def __init__(self, namespaces: list[Namespace]) -> None:
        self.created = {n.type for n in namespaces if not n.path}
        self.joined = {n.type: n.path for n in namespaces if n.path}
        self.where = {n.type: f"$.linux.namespaces[{i}]" for i, n in enumerate(namespaces)}

    @property
    def own_mounts(self) -> bool:
        """Whether the process has a mount namespace other than ours."""
        return "mount" in self.created or "mount" in self.joined

    @property
    def own_user(self) -> bool:
        """Whether the process runs in a user namespace other than ours."""
        return "user" in self.created or "user" in self.joined

    @property
    def forks(self) -> bool:
        """Whether the process must be cloned a second time: what joins a PID or time namespace, or makes a
        time namespace, is not in it itself; only its children are (setns(2), time_namespaces(7))."""
        return bool({"pid", "time"} & set(self.joined)) or "time" in self.created


def open_joined(build: Build, namespaces: Namespaces) -> dict[str, int]:
    """Descriptors of the namespaces to join, opened while the host's files can be seen."""
    slots = {}
    for kind in _JOIN_ORDER:
        if kind in namespaces.joined:
            slots[kind] = build.plan.slot(f"ns-{kind}")
            why = namespaces.where.get(kind, "")
            build.plan.add("open", slots[kind], namespaces.joined[kind], _O_RDONLY, why=why)
    return slots


def clone(build: Build, namespaces: Namespaces, cgroup: int = NO_SLOT) -> None:
    """The new process, with the namespaces that it can be born into."""
    later = {"cgroup", "time"} | ({"pid"} if namespaces.forks else set())
    flags = 0
    for kind in namespaces.created - later:
        flags |= FLAGS[kind]
    build.plan.add("clone", flags, cgroup, why="$.linux.namespaces")


def enter(build: Build, namespaces: Namespaces, slots: dict[str, int]) -> None:
    """What the new process does to be in all its namespaces; it is root of its user namespace then."""
    plan = build.plan
    plan.add("recv", MAPPED, why="id maps are the parent's work")
    for kind, slot in slots.items():
        if kind != "mount":
            plan.add("setns", slot, FLAGS[kind], why=namespaces.where.get(kind, ""))
    if namespaces.own_user:
        plan.add("root_user", why=namespaces.where.get("user", ""))
    if "cgroup" in namespaces.created:
        plan.add("unshare", FLAGS["cgroup"], why=namespaces.where["cgroup"])
    if "mount" in slots:
        plan.add("setns", slots["mount"], FLAGS["mount"], why=namespaces.where.get("mount", ""))
    if "time" in namespaces.created:
        _time(build, namespaces)
    if namespaces.forks and "pid" in namespaces.created:
        plan.add("unshare", FLAGS["pid"], why=namespaces.where["pid"])
    if namespaces.forks:
        plan.add("fork", why="only a child is in a PID or time namespace that was joined")


def _time(build: Build, namespaces: Namespaces) -> None:
    build.plan.add("unshare", FLAGS["time"], why=namespaces.where["time"])
    linux = build.config.linux
    offsets = linux.time_offsets if linux else {}
    for clock, offset in offsets.items():
        text = f"{clock} {offset.secs} {offset.nanosecs}\n"
        why = f"$.linux.timeOffsets.{clock}"
        build.plan.add("write", NO_SLOT, "/proc/self/timens_offsets", text, why=why)


def map_ids(build: Build, namespaces: Namespaces) -> None:
    """The parent's part of a new user namespace: its maps, written directly or by newuidmap(1)."""
    linux = build.config.linux
    if "user" not in namespaces.created or linux is None:
        return
    if build.host.rootless and not (_single(linux.uid_mappings) and _single(linux.gid_mappings)):
        for tool, maps, why in (
            ("newuidmap", linux.uid_mappings, "$.linux.uidMappings"),
            ("newgidmap", linux.gid_mappings, "$.linux.gidMappings"),
        ):
            build.plan.add("helper", [tool, "@PID@", *_words(maps)], why=why)
        return
    if build.host.rootless:
        build.plan.add(
            "proc_write", "setgroups", "deny", why="user_namespaces(7): an ordinary user's gid_map"
        )
    build.plan.add("proc_write", "uid_map", id_lines(linux.uid_mappings), why="$.linux.uidMappings")
    build.plan.add("proc_write", "gid_map", id_lines(linux.gid_mappings), why="$.linux.gidMappings")


def _single(maps: list[IDMapping]) -> bool:
    return len(maps) == 1 and maps[0].size == 1


def id_lines(maps: list[IDMapping]) -> str:
    """The text of uid_map or gid_map (user_namespaces(7))."""
    return "".join(f"{m.container_id} {m.host_id} {m.size}\n" for m in maps)


def _words(maps: list[IDMapping]) -> list[str]:
    return [str(number) for m in maps for number in (m.container_id, m.host_id, m.size)]
