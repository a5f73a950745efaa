"""One machine: memory, CPUs, devices; boot, pause, resume, end."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from trimaran.errors import InvalidInput, KernelError, Unsupported
from trimaran.linux import kvm
from trimaran.vm.vmm import acpi, boot, layout
from trimaran.vm.vmm.bus import AddressBus
from trimaran.vm.vmm.events import Events
from trimaran.vm.vmm.memory import GuestMemory
from trimaran.vm.vmm.serial import ResetPort, Serial
from trimaran.vm.vmm.vcpu import Vcpu
from trimaran.vm.vmm.virtio.device import Device
from trimaran.vm.vmm.virtio.mmio import NOTIFY, Transport

API_VERSION = 12
MAX_CPUS = 32


@dataclass
class Ended:
    """How the guest ended: ``reset``, or what went wrong."""

    reason: str = ""


class VirtualMachine:
    """A machine that is put together, then booted or restored, then runs until it ends.

    Raises :class:`Unsupported` without KVM. ``console`` is a descriptor for what the guest's serial port
    sends; it stays the caller's.
    """

    def __init__(self, memory: GuestMemory, cpus: int, console: int) -> None:
        if not 1 <= cpus <= MAX_CPUS:
            raise InvalidInput(f"a machine with {cpus} CPUs", why=f"between 1 and {MAX_CPUS} are possible")
        self.memory = memory
        self.kvm = _open_kvm()
        self.vm = fcntl.ioctl(self.kvm, kvm.CREATE_VM, 0)
        kvm.create_chips(self.vm)
        for slot, region in enumerate(memory.regions):
            kvm.region(self.vm, slot, region.start, region.mapping, region.size)
        self.events = Events(self.end)
        self.ports = AddressBus()
        self.bus = AddressBus()
        self.transports: list[Transport] = []
        self._descriptors: list[int] = []
        self._over = threading.Event()
        self.ended = Ended()
        self.paused = False
        self.serial = Serial(console, self._line(layout.SERIAL_INTERRUPT))
        self.ports.add(layout.SERIAL_PORT, 8, self.serial)
        self.ports.add(0x60, 5, ResetPort(self.end))
        self.vcpus = [Vcpu(self.kvm, self.vm, number, cpus, self.ports, self.bus) for number in range(cpus)]

    def _eventfd(self) -> int:
        fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._descriptors.append(fd)
        return fd

    def _line(self, interrupt: int) -> Callable[[], None]:
        """A function that pulses an interrupt line."""
        fd = self._eventfd()
        kvm.irqfd(self.vm, fd, interrupt)

        def pulse() -> None:
            os.eventfd_write(fd, 1)

        return pulse

    def add(self, device: Device) -> Transport:
        """Give the machine one more device, before it starts. Raises :class:`InvalidInput` for too many."""
        slot = len(self.transports)
        if slot >= layout.MAX_DEVICES:
            raise InvalidInput("too many devices", why=f"a machine has at most {layout.MAX_DEVICES}")
        transport = Transport(device, self._line(layout.device_interrupt(slot)))
        address = layout.device_address(slot)
        self.bus.add(address, layout.MMIO_SLOT, transport)
        self.transports.append(transport)
        device.attach(self.events)
        for number in range(len(device.queues)):
            fd = self._eventfd()
            kvm.ioeventfd(self.vm, fd, address + NOTIFY, number)
            self.events.on_event(fd, partial(transport.notify, number))
        return transport

    def boot(self, kernel: bytes | memoryview, initramfs: bytes, command_line: str) -> None:
        """Load a kernel and prepare the first CPU."""
        tables, rsdp = acpi.tables(len(self.vcpus), range(len(self.transports)), layout.ACPI)
        self.memory.write(layout.ACPI, tables)
        entry = boot.load(self.memory, kernel, initramfs, command_line, rsdp)
        self.vcpus[0].prepare(entry)

    def start(self, paused: bool = False) -> None:
        """Let CPUs and devices run. The process has called :func:`accept_kicks`."""
        self.paused = paused
        self.events.start()
        if paused:
            self.events.pause()
        for vcpu in self.vcpus:
            vcpu.start(self.end, paused)

    def pause(self) -> None:
        """Stop CPUs, then devices. Idempotent."""
        if not self.paused:
            for vcpu in self.vcpus:
                vcpu.pause()
            self.events.pause()
            self.paused = True

    def resume(self) -> None:
        """Go on after :meth:`pause`. Idempotent."""
        if self.paused:
            self.paused = False
            self.events.resume()
            for vcpu in self.vcpus:
                vcpu.resume()

    def end(self, reason: str) -> None:
        """The guest has ended, or is to end; the first reason counts."""
        if not self._over.is_set():
            self.ended.reason = reason
            self._over.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the guest's end; False if it has not ended in time."""
        return self._over.wait(seconds)

    def stop(self) -> None:
        """End the guest and give everything up."""
        self.end("stopped")
        for vcpu in self.vcpus:
            vcpu.stop()
        self.events.stop()
        for transport in self.transports:
            transport.device.close()
        for vcpu in self.vcpus:
            vcpu.close()
        for fd in (*self._descriptors, self.vm, self.kvm):
            os.close(fd)

    def devices(self) -> Sequence[Device]:
        """The devices, by slot."""
        return [transport.device for transport in self.transports]


def _open_kvm() -> int:
    machine = os.uname().machine
    if machine != "x86_64":
        raise Unsupported(
            "no machine can be made", why=f"the kvm hypervisor is for x86-64, not {machine}", hint="use QEMU"
        )
    hint = "load kvm-intel or kvm-amd, and give this user access to /dev/kvm; or use QEMU's emulation"
    try:
        fd = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.EACCES):
            raise Unsupported(
                "no hardware virtualisation", why=f"/dev/kvm: {error.strerror}", hint=hint
            ) from None
        raise KernelError("open", error.errno or 0, "/dev/kvm", hint=hint) from error
    version = fcntl.ioctl(fd, kvm.GET_API_VERSION, 0)
    if version != API_VERSION:
        os.close(fd)
        raise Unsupported(
            "no hardware virtualisation", why=f"KVM has API version {version}, not {API_VERSION}"
        )
    return fd
