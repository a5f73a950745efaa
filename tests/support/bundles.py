"""Bundles for the runtime's tests: a root file system with busybox, and a usual config.json."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

BUSYBOX = "/bin/busybox"
APPLETS = (
    "sh",
    "true",
    "false",
    "cat",
    "echo",
    "id",
    "ls",
    "sleep",
    "hostname",
    "mount",
    "kill",
    "stty",
    "dd",
    "df",
    "grep",
    "ln",
    "mkdir",
    "chmod",
    "rm",
    "tail",
    "touch",
    "head",
    "date",
    "base64",
    "tr",
    "wc",
)
CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"]


def make_root(directory: Path) -> Path:
    """A small root file system with busybox (Debian package busybox-static)."""
    for name in ("bin", "etc", "proc", "dev", "sys", "tmp", "root"):
        (directory / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, directory / "bin/busybox")
    for applet in APPLETS:
        os.link(directory / "bin/busybox", directory / "bin" / applet)
    (directory / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n"
    )
    return directory


def usual_config(*args: str, **process: object) -> dict:
    """A configuration like that of any engine; ``process`` overrides fields of the process."""
    return {
        "ociVersion": "1.0.2",
        "process": {
            "args": list(args) or ["true"],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "user": {"uid": 0, "gid": 0},
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
            "noNewPrivileges": True,
            **process,
        },
        "root": {"path": "rootfs"},
        "hostname": "test",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {
                "destination": "/dev",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
            },
            {
                "destination": "/dev/pts",
                "type": "devpts",
                "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
            },
            {
                "destination": "/sys",
                "type": "sysfs",
                "source": "sysfs",
                "options": ["nosuid", "noexec", "nodev", "ro"],
            },
        ],
        "linux": {
            "namespaces": [{"type": t} for t in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware"],
            "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger"],
        },
    }


def write_bundle(directory: Path, config: dict) -> Path:
    """A bundle with its own root file system."""
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / "rootfs").exists():
        make_root(directory / "rootfs")
    (directory / "config.json").write_text(json.dumps(config))
    return directory
