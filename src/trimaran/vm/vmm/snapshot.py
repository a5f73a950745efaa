"""Saving a paused machine and making machines from what was saved.

A snapshot is a directory: ``memory`` (sparse, as large as the guest's memory) and ``state.json`` (CPUs,
chips, devices). A clone maps the memory privately: it shares pages with the page cache until it writes them.
"""

from __future__ import annotations

import json
import os
import struct
from typing import Any

from trimaran.errors import Conflict, InvalidInput, KernelError
from trimaran.linux import kvm
from trimaran.vm.vmm import config as configs
from trimaran.vm.vmm.machine import VirtualMachine
from trimaran.vm.vmm.memory import save as save_memory
from trimaran.vm.vmm.vcpu import Vcpu
from trimaran.vm.vmm.virtio.queue import RingError

MEMORY, STATE = "memory", "state.json"
VERSION = 1
# In the order in which they are set: the mode of a CPU before what depends on it.
_CPU_STATE = (
    ("sregs", kvm.GET_SREGS, kvm.SET_SREGS),
    ("regs", kvm.GET_REGS, kvm.SET_REGS),
    ("xcrs", kvm.GET_XCRS, kvm.SET_XCRS),
    ("xsave", kvm.GET_XSAVE, kvm.SET_XSAVE),
    ("lapic", kvm.GET_LAPIC, kvm.SET_LAPIC),
    ("debug", kvm.GET_DEBUGREGS, kvm.SET_DEBUGREGS),
    ("events", kvm.GET_VCPU_EVENTS, kvm.SET_VCPU_EVENTS),
    ("mp", kvm.GET_MP_STATE, kvm.SET_MP_STATE),
)
_CHIPS = (0, 1, 2)
_TSC = 0x10
_CHIP_SIZE = 520


def save(machine: VirtualMachine, directory: str) -> None:
    """Save a paused machine. Raises :class:`Conflict` if it runs, :class:`KernelError`."""
    if not machine.paused:
        raise Conflict("the machine cannot be saved", why="it runs", hint="pause it first")
    indices = kvm.msr_indices(machine.kvm)
    state = {
        "version": VERSION,
        "memory": machine.memory.size,
        "cpus": [_save_cpu(vcpu, indices) for vcpu in machine.vcpus],
        "chips": [_chip(machine.vm, number).hex() for number in _CHIPS],
        "pit": kvm.get(machine.vm, kvm.GET_PIT2).hex(),
        "clock": kvm.get(machine.vm, kvm.GET_CLOCK).hex(),
        "serial": machine.serial.save().hex(),
        "devices": [transport.save() for transport in machine.transports],
    }
    try:
        save_memory(machine.memory, os.path.join(directory, MEMORY))
        with open(os.path.join(directory, STATE), "w", encoding="ascii") as file:
            json.dump(state, file)
    except OSError as error:
        raise KernelError(
            "write", error.errno or 0, directory, message="the machine cannot be saved"
        ) from error


def _save_cpu(vcpu: Vcpu, indices: list[int]) -> dict[str, Any]:
    state: dict[str, Any] = {name: kvm.get(vcpu.fd, get).hex() for name, get, _ in _CPU_STATE}
    state["msrs"] = kvm.get_msrs(vcpu.fd, indices)
    return state


def _chip(vm: int, number: int) -> bytearray:
    import fcntl

    buffer = bytearray(number.to_bytes(4, "little") + bytes(_CHIP_SIZE - 4))
    fcntl.ioctl(vm, kvm.GET_IRQCHIP, buffer)
    return buffer


def load(config: configs.MachineConfig, console: int, directory: str) -> VirtualMachine:
    """A machine as it was saved, not running. CONFIG gives the disks and descriptors of this one.

    Raises :class:`InvalidInput` for a snapshot that is damaged or does not fit the configuration.
    """
    try:
        with open(os.path.join(directory, STATE), encoding="ascii", errors="replace") as file:
            text = file.read()
        memory_file = os.open(os.path.join(directory, MEMORY), os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError("open", error.errno or 0, directory, message="no snapshot can be loaded") from error
    try:
        state = json.loads(text)
        if state.get("version") != VERSION or os.fstat(memory_file).st_size != state["memory"]:
            raise InvalidInput("the snapshot cannot be used", why="it is damaged, or of another version")
        config.memory, config.cpus = state["memory"], len(state["cpus"])
        machine = configs.make(config, console, memory_file)
        _restore(machine, state)
    except (KeyError, ValueError, TypeError, struct.error, RingError) as error:
        raise InvalidInput("the snapshot does not fit the machine", why=str(error)) from error
    finally:
        os.close(memory_file)
    return machine


def _restore(machine: VirtualMachine, state: dict[str, Any]) -> None:
    for chip in state["chips"]:
        kvm.put(machine.vm, kvm.SET_IRQCHIP, bytes.fromhex(chip))
    kvm.put(machine.vm, kvm.SET_PIT2, bytes.fromhex(state["pit"]))
    _set_clock(machine.vm, bytes.fromhex(state["clock"]))
    for vcpu, saved in zip(machine.vcpus, state["cpus"], strict=True):
        _restore_cpu(vcpu, saved)
    machine.serial.restore(bytes.fromhex(state["serial"]))
    for transport, saved in zip(machine.transports, state["devices"], strict=True):
        transport.restore(saved)


def _set_clock(vm: int, clock: bytes) -> None:
    """kvmclock goes on where it stopped; the flags of the reading may not be given back."""
    kvm.put(vm, kvm.SET_CLOCK, clock[:8] + bytes(len(clock) - 8))


def _restore_cpu(vcpu: Vcpu, saved: dict[str, Any]) -> None:
    # The TSC first: other registers count in it.
    msrs = sorted(((index, value) for index, value in saved["msrs"]), key=lambda msr: msr[0] != _TSC)
    kvm.set_msrs(vcpu.fd, msrs)
    for name, _, put in _CPU_STATE:
        kvm.put(vcpu.fd, put, bytes.fromhex(saved[name]))
