"""A configuration to start from: a shell on a terminal, confined as runc's and crun's ``spec`` confine it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = "1.3.0"
_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
_MASKED = (
    *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
    *("/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"),
    "/sys/devices/virtual/powercap",
)
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def _mount(destination: str, type: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": type, "source": source, "options": list(options)}


def default_config(rootless: tuple[int, int] | None = None) -> dict[str, Any]:
    """The configuration as JSON; ``rootless`` is the user and group that shall be the container's root."""
    tty_group = () if rootless else ("gid=5",)
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount(
            *("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666"),
            *("mode=0620", *tty_group),
        ),
        _mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
        _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
    ]
    kinds = ["pid", "ipc", "uts", "mount", "cgroup"]
    linux: dict[str, Any] = {"resources": {"devices": [{"allow": False, "access": "rwm"}]}}
    if rootless is None:
        mounts.append(_mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"))
        mounts.append(
            _mount("/sys/fs/cgroup", "cgroup", "cgroup", *("nosuid", "noexec", "nodev", "relatime", "ro"))
        )
        kinds.insert(1, "network")
    else:
        # Without a network namespace of its own it may not mount a sysfs (sysfs(5)): the host's is bound.
        mounts.append(_mount("/sys", "none", "/sys", "rbind", "nosuid", "noexec", "nodev", "ro"))
        uid, gid = rootless
        linux = {
            "uidMappings": [{"containerID": 0, "hostID": uid, "size": 1}],
            "gidMappings": [{"containerID": 0, "hostID": gid, "size": 1}],
        }
        kinds.append("user")
    return {
        "ociVersion": VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), _CAPABILITIES),
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "trimaran",
        "mounts": mounts,
        "linux": {
            **linux,
            "namespaces": [{"type": kind} for kind in kinds],
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READ_ONLY),
        },
    }
