"""A machine's description, and the machine that is made from it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trimaran.errors import InvalidInput, KernelError
from trimaran.vm.vmm.machine import VirtualMachine
from trimaran.vm.vmm.memory import GuestMemory
from trimaran.vm.vmm.virtio.balloon import Balloon
from trimaran.vm.vmm.virtio.block import Block, Limiter
from trimaran.vm.vmm.virtio.console import Console
from trimaran.vm.vmm.virtio.net import Net
from trimaran.vm.vmm.virtio.rng import Rng

# Told to every guest. It has no PCI, no keyboard; i8042's probe alone would take half a second.
KERNEL_OPTIONS = (
    "console=ttyS0 quiet panic=-1 reboot=t pci=off i8042.noaux i8042.nomux i8042.nopnp i8042.dumbkbd "
    "cryptomgr.notests random.trust_cpu=on"
)


@dataclass
class DiskConfig:
    """A disk; limits are (units a second, burst), in bytes and in operations."""

    path: str
    serial: str
    read_only: bool = False
    bandwidth: tuple[float, float] = (0, 0)
    operations: tuple[float, float] = (0, 0)


@dataclass
class MachineConfig:
    """Everything about a machine. Memory in bytes. ``tap`` and the ports' numbers are open descriptors."""

    kernel: str = ""
    initramfs: str = ""
    command_line: str = KERNEL_OPTIONS
    cpus: int = 1
    memory: int = 256 << 20
    disks: list[DiskConfig] = field(default_factory=list)
    tap: int = -1
    mac: str = ""
    ports: Sequence[tuple[str, int]] = ()
    balloon: bool = True
    entropy: bool = True

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> MachineConfig:
        """What :meth:`to_json` gave."""
        fields = dict(value)
        fields["disks"] = [DiskConfig(**disk) for disk in fields.get("disks", [])]
        fields["ports"] = [(name, fd) for name, fd in fields.get("ports", [])]
        return cls(**fields)


def make(config: MachineConfig, console: int, memory_file: int | None = None) -> VirtualMachine:
    """The machine, with its devices, not booted. MEMORY_FILE: what a snapshot left of the memory."""
    memory = GuestMemory(config.memory, memory_file)
    machine = VirtualMachine(memory, config.cpus, console)
    if config.ports:
        machine.add(Console(memory, config.ports))
    for disk in config.disks:
        machine.add(
            Block(
                memory,
                disk.path,
                read_only=disk.read_only,
                serial=disk.serial,
                bytes_limit=Limiter(*disk.bandwidth),
                operations_limit=Limiter(*disk.operations),
            )
        )
    if config.tap >= 0:
        machine.add(Net(memory, config.tap, mac_bytes(config.mac)))
    if config.entropy:
        machine.add(Rng(memory))
    if config.balloon:
        machine.add(Balloon(memory))
    return machine


def boot(machine: VirtualMachine, config: MachineConfig) -> None:
    """Load the kernel that the configuration names. Raises :class:`KernelError`, :class:`InvalidInput`."""
    kernel = read_file(config.kernel)
    initramfs = read_file(config.initramfs) if config.initramfs else b""
    machine.boot(kernel, initramfs, config.command_line)


def read_file(path: str) -> bytes:
    """The content of a file. Raises :class:`KernelError`."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError("open", error.errno or 0, path, message=f"cannot read {path}") from error
    with open(fd, "rb", buffering=0) as file:
        return file.readall() or b""


def mac_bytes(text: str) -> bytes:
    """A MAC address as bytes. Raises :class:`InvalidInput`."""
    try:
        result = bytes.fromhex(text.replace(":", ""))
    except ValueError:
        result = b""
    if len(result) != 6 or len(text) != 17:
        raise InvalidInput(f"{text!r} is no MAC address", hint="write it as 02:00:00:00:00:01")
    return result
