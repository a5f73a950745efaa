"""Least privilege learnt from a run: an OCI seccomp profile and a network policy for the native hull."""

from __future__ import annotations

from trimaran.sandbox.abi import MACHINE, NAMES
from trimaran.sandbox.policy import NATIVE, STUB_CALLS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from trimaran.sandbox.hooks import Call, Hooks
    from trimaran.sandbox.kernel.kernel import Kernel

ALWAYS = ("execve", "exit", "exit_group", "clone3", "restart_syscall")
"""What the native hull's own start of a program takes, whatever the program does."""


class Learner:
    """Watches a run; afterwards :meth:`seccomp` and :meth:`network` allow what it did and nothing else.

    Native calls are not seen one by one: all of them are in the profile.
    """

    def __init__(self, hooks: Hooks) -> None:
        self.kernel: Kernel = hooks.kernel
        self.addresses: set[tuple[str, int]] = set()
        self.written: set[bytes] = set()
        hooks.connections(self._connected)
        hooks.files(self._named)

    def _connected(self, call: Call) -> None:
        if call.address is not None:
            self.addresses.add(call.address)

    def _named(self, call: Call) -> None:
        changes = call.name.startswith(
            ("unlink", "rename", "mkdir", "rmdir", "creat", "truncate", "symlink", "link")
        )
        flags = call.args[2] if call.name == "openat" else call.args[1] if call.name == "open" else 0
        if call.path is not None and (changes or flags & 0x243):
            self.written.add(call.path)

    def calls(self) -> list[str]:
        """Every call that the run needed, by name."""
        used = {NAMES[number] for number in self.kernel.counts if number in NAMES}
        return sorted(used | set(NATIVE) | set(STUB_CALLS) | set(ALWAYS))

    def seccomp(self) -> dict[str, Any]:
        """An OCI ``linux.seccomp`` object."""
        architecture = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}[MACHINE]
        return {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 1,
            "architectures": [architecture],
            "syscalls": [{"names": self.calls(), "action": "SCMP_ACT_ALLOW"}],
        }

    def network(self) -> list[str]:
        """Rules that allow the connections of the run (see ``parse_rules``); everything else is denied."""
        return [
            f"allow [{host}]:{port}" if ":" in host else f"allow {host}:{port}"
            for host, port in sorted(self.addresses)
        ]
