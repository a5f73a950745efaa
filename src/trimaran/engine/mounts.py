"""The mounts that every container has. Pure. What else is asked for is read by trimaran.volume.

runtime-spec config.md, "Mounts"; config-linux.md, "Default Filesystems"
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from trimaran.engine.options import Options

_PTS = ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")


def default(options: Options, joins: Mapping[str, str]) -> list[dict[str, Any]]:
    """What every container has mounted."""
    writable = "rw" if options.privileged else "ro"
    found = [
        _mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount("/dev/pts", "devpts", "devpts", *_PTS),
        _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", writable),
    ]
    if joins.get("network") == "host":
        found.insert(3, _bind("/sys", "/sys", "nosuid", "noexec", "nodev", writable))
    else:
        found.insert(3, _mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", writable))
    if joins.get("ipc") == "host":
        found.append(_bind("/dev/shm", "/dev/shm", "nosuid", "noexec", "nodev"))
    else:
        size = f"size={options.shm_size}"
        found.append(_mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", size))
    return found


def _mount(target: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source, "options": list(options)}


def _bind(target: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "type": "bind", "source": source, "options": ["rbind", *options]}
