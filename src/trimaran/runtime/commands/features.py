"""features: what this runtime can do, from the tables that it works by (runtime-spec features.md)."""

from __future__ import annotations

import os

from trimaran._version import VERSION
from trimaran.errors import InvalidInput
from trimaran.plan import mount_options, namespaces, process, seccomp
from trimaran.runtime.command import Context, read_options
from trimaran.runtime.lifecycle import OCI_VERSION
from trimaran.spec import capabilities, jsonio
from trimaran.spec.runtime import Hooks
from trimaran.spec.seccomp import ACTIONS, Seccomp, SyscallArg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run(context: Context, name: str, words: list[str]) -> int:
    _, rest = read_options(name, words, (), "")
    if rest:
        raise InvalidInput("features takes no argument", why=f"{rest[0]!r} is one")
    print(jsonio.dump(features(), 4))
    return 0


def features() -> dict[str, Any]:
    """The features structure."""
    flags = list(Seccomp._choices["flags"])
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": [kind for kind, _ in Hooks().kinds()],
        "mountOptions": mount_options.known(),
        "linux": {
            "namespaces": sorted(namespaces.FLAGS),
            "capabilities": list(capabilities.NAMES),
            "cgroup": {"v1": True, "v2": True, "systemd": False, "systemdUser": False, "rdma": True},
            "seccomp": {
                "enabled": True,
                "actions": list(ACTIONS),
                "operators": list(SyscallArg._choices["op"]),
                "archs": seccomp.usable_architectures(os.uname().machine),
                "knownFlags": flags,
                "supportedFlags": flags,
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
            "memoryPolicy": {"modes": list(process.MEMORY_MODES), "flags": list(process.MEMORY_FLAGS)},
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": False},
        },
        "annotations": {
            "org.trimaran.version": VERSION,
            "org.opencontainers.runc.checkpoint.enabled": "false",
        },
    }
