"""What this host and this process have: gathered once a process, for the compiler."""

from __future__ import annotations

import os

from trimaran.plan.host import HostFacts
from trimaran.runtime.cgroups.layout import find_layout

RESCTRL = "/sys/fs/resctrl"
_facts: HostFacts | None = None


def host_facts() -> HostFacts:
    """The facts; read again only after a fork or in a new process."""
    global _facts
    if _facts is None:
        _facts = _gather()
    return _facts


def _gather() -> HostFacts:
    permitted = bounding = 0
    with open("/proc/self/status", "rb") as file:
        for line in file:
            if line.startswith(b"CapPrm:"):
                permitted = int(line[7:], 16)
            elif line.startswith(b"CapBnd:"):
                bounding = int(line[7:], 16)
                break
    return HostFacts(
        capabilities=permitted & bounding,
        kernel=_kernel(os.uname().release),
        uid=os.geteuid(),
        gid=os.getegid(),
        cgroups=find_layout(),
        lsms=_lsms(),
        resctrl=RESCTRL if os.path.exists(f"{RESCTRL}/schemata") else "",
    )


def _kernel(release: str) -> tuple[int, int]:
    """The first two numbers of a release such as ``6.1.0-42-amd64``."""
    major, _, rest = release.partition(".")
    digits = ""
    for character in rest:
        if not character.isdigit():
            break
        digits += character
    return int(major), int(digits or 0)


def _lsms() -> frozenset[str]:
    try:
        with open("/sys/kernel/security/lsm", encoding="ascii") as file:
            return frozenset(file.read().strip().split(","))
    except OSError:
        return frozenset()
