"""Where the cgroup hierarchies of this host are (cgroups(7), proc(5) mountinfo)."""

from __future__ import annotations

from trimaran.plan.host import CgroupLayout

_V1_FLAGS = frozenset({"rw", "ro", "xattr", "noprefix", "clone_children", "nsdelegate"})


def find_layout() -> CgroupLayout | None:
    """The hierarchies that are mounted; None if there is none."""
    with open("/proc/self/mountinfo", "rb") as file:
        mountinfo = file.read().decode("utf-8", "surrogateescape")
    with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        own = file.read()
    return parse_layout(mountinfo, own, _cpuset)


def parse_layout(mountinfo: str, own: str, cpuset: object = None) -> CgroupLayout | None:
    """The layout that the two files of /proc/self describe. ``cpuset`` reads a mount's CPUs and nodes."""
    mounts = _mounts(mountinfo)
    if not mounts:
        return None
    paths = own_paths(own)
    if set(mounts) == {""}:
        return CgroupLayout("v2", mounts, paths)
    sets = cpuset(mounts["cpuset"]) if callable(cpuset) and "cpuset" in mounts else ("0", "0")
    return CgroupLayout("hybrid" if "" in mounts else "v1", mounts, paths, sets)


def _mounts(mountinfo: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in mountinfo.splitlines():
        before, dash, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(" "), after.split(" ", 2) if dash else ("", "", "")
        if kind == "cgroup2":
            found.setdefault("", _unescape(fields[4]))
        elif kind == "cgroup":
            for option in options.split(","):
                if option not in _V1_FLAGS and not option.startswith("release_agent="):
                    found.setdefault(option, _unescape(fields[4]))
    return found


def _unescape(path: str) -> str:
    """Undo proc(5)'s octal escapes."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, character)
    return path


def own_paths(text: str) -> dict[str, str]:
    """Controller to path, from the text of /proc/PID/cgroup (cgroups(7))."""
    paths = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path
    return paths


def _cpuset(mount: str) -> tuple[str, str]:
    with open(f"{mount}/cpuset.cpus") as cpus, open(f"{mount}/cpuset.mems") as nodes:
        return cpus.read().strip(), nodes.read().strip()
