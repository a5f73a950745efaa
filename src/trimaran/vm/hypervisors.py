"""Chooses how machines are made: our own VMM or QEMU, on KVM or by emulation."""

from __future__ import annotations

import os

from trimaran.errors import InvalidInput
from trimaran.vm.machine import Hypervisor

NAMES = ("qemu-kvm", "qemu-tcg")


def make(name: str) -> Hypervisor:
    """The hypervisor of that name. Raises :class:`InvalidInput` or :class:`Unsupported`."""
    from trimaran.vm.qemu.driver import QemuHypervisor

    if name not in NAMES:
        raise InvalidInput(f"no hypervisor {name!r}", hint=f"choose one of {', '.join(NAMES)}")
    return QemuHypervisor("kvm" if name == "qemu-kvm" else "tcg")


def choose(cache: str) -> str:
    """The best hypervisor of this host."""
    return os.environ.get("TRIMARAN_VM_HYPERVISOR") or "qemu-tcg"
