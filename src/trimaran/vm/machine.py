"""What a hypervisor is asked for: a machine with a kernel, disks, network and streams to its agent."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

# A template is saved with this many disks, so that a clone can be given any smaller number.
DISK_SLOTS = 8


@dataclass(frozen=True)
class Disk:
    """A disk of a guest. A read-only one is opened read-only on the host: the guest has no say in it.

    The guest finds it by its serial number.
    """

    path: str
    serial: str
    read_only: bool = True


@dataclass(frozen=True)
class Nic:
    """A network interface: an open TAP device, and the address that the guest's side has."""

    tap: int
    mac: str


@dataclass(frozen=True)
class MachineSpec:
    """A machine. ``memory`` is in bytes; ``directory`` is its own, mode 0700, for sockets and logs."""

    directory: str
    kernel: str
    initramfs: str
    cpus: int = 1
    memory: int = 256 << 20
    disks: Sequence[Disk] = ()
    nic: Nic | None = None
    command_line: str = ""


class Machine(Protocol):
    """A running machine. Methods raise :class:`~trimaran.errors.GuestError` when it is gone."""

    pid: int
    console: bytearray

    async def connect(self) -> tuple[socket.socket, socket.socket]:
        """The streams to the agent and to its relay of shares; once."""

    async def pause(self) -> None:
        """Stop every virtual CPU."""

    async def resume(self) -> None:
        """Let them go on."""

    async def snapshot(self, directory: str) -> None:
        """Save a paused machine to an existing directory."""

    async def wait(self) -> int:
        """Wait for the machine's end; how its process ended."""

    async def kill(self) -> None:
        """End the machine at once. Idempotent."""


class Hypervisor(Protocol):
    """A way to make machines."""

    name: str

    async def boot(self, spec: MachineSpec) -> Machine:
        """Start a machine from its kernel."""

    async def restore(self, spec: MachineSpec, directory: str) -> Machine:
        """Start a machine from what :meth:`Machine.snapshot` saved; SPEC gives its disks and network."""
