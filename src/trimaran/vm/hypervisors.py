"""Chooses how machines are made: our own VMM or QEMU, on KVM or by emulation."""

from __future__ import annotations

import os

from trimaran.errors import InvalidInput
from trimaran.vm.machine import Hypervisor

NAMES = ("kvm", "qemu-kvm", "qemu-tcg")


def make(name: str) -> Hypervisor:
    """The hypervisor of that name. Raises :class:`InvalidInput` or :class:`Unsupported`."""
    if name not in NAMES:
        raise InvalidInput(f"no hypervisor {name!r}", hint=f"choose one of {', '.join(NAMES)}")
    if name == "kvm":
        from trimaran.vm.vmm.driver import KvmHypervisor

        return KvmHypervisor()
    from trimaran.vm.qemu.driver import QemuHypervisor

    return QemuHypervisor("kvm" if name == "qemu-kvm" else "tcg")


def choose(cache: str) -> str:
    """The best hypervisor of this host."""
    return os.environ.get("TRIMARAN_VM_HYPERVISOR") or "qemu-tcg"
