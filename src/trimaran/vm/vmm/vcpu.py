"""A virtual CPU: its first registers, and the thread that runs it."""

from __future__ import annotations

import fcntl
import mmap
import os
import signal
import struct
import threading
from collections.abc import Callable
from typing import Protocol

from trimaran.errors import GuestError
from trimaran.linux import kvm
from trimaran.vm.vmm import layout
from trimaran.vm.vmm.boot import Entry

KICK = signal.SIGUSR1
_IMMEDIATE_EXIT = 1
_EXIT_REASON = struct.Struct("=I")
_IO = struct.Struct("=BBHIQ")
_MMIO = struct.Struct("=Q8sIB")
_EXIT_DATA = 32
_REGS = struct.Struct("=18Q")
_CR0_PE, _CR0_PG, _CR0_ET = 1, 1 << 31, 1 << 4
_CR4_PAE, _EFER_LME, _EFER_LMA = 1 << 5, 1 << 8, 1 << 10
_SREGS_SEGMENTS = 8
_SREGS_CR0 = 8 * 24 + 2 * 16
_TSC_DEADLINE = 1 << 24
_LVT0, _LVT1, _EXTINT, _NMI = 0x350, 0x360, 0x700, 0x400


def accept_kicks() -> None:
    """Let the signal that makes a CPU leave the guest do nothing else. For the main thread only."""
    signal.signal(KICK, lambda *_: None)


class Bus(Protocol):
    """Who answers at an address. What nobody answers reads as ones."""

    def read(self, address: int, size: int) -> bytes:
        """SIZE bytes from a register."""

    def write(self, address: int, data: bytes) -> None:
        """DATA to a register."""


class Vcpu:
    """One CPU. ``stopped`` is called with the reason when the guest ends."""

    def __init__(self, kvm_fd: int, vm: int, number: int, count: int, ports: Bus, memory_bus: Bus) -> None:
        self.number = number
        self.fd = fcntl.ioctl(vm, kvm.CREATE_VCPU, number)
        self._state = mmap.mmap(self.fd, fcntl.ioctl(kvm_fd, kvm.GET_VCPU_MMAP_SIZE, 0))
        self._ports = ports
        self._memory_bus = memory_bus
        self._parked = threading.Event()
        self._go = threading.Event()
        self._end = False
        self._thread: threading.Thread | None = None
        self.exits = 0
        kvm.set_cpuid(self.fd, cpuid(kvm.supported_cpuid(kvm_fd), number, count))
        lapic = kvm.get(self.fd, kvm.GET_LAPIC)
        struct.pack_into("<I", lapic, _LVT0, _EXTINT)
        struct.pack_into("<I", lapic, _LVT1, _NMI)
        kvm.put(self.fd, kvm.SET_LAPIC, lapic)

    def prepare(self, entry: Entry) -> None:
        """Set the registers that the first CPU starts with."""
        sregs = kvm.get(self.fd, kvm.GET_SREGS)
        kvm.put(self.fd, kvm.SET_SREGS, first_sregs(sregs, entry))
        rbx, rsi = (0, entry.argument) if entry.long_mode else (entry.argument, 0)
        # rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8 to r15, rip, rflags
        kvm.put(self.fd, kvm.SET_REGS, _REGS.pack(0, rbx, 0, 0, rsi, 0, 0, 0, *[0] * 8, entry.address, 2))

    def start(self, stopped: Callable[[str], None], paused: bool = False) -> None:
        """Run in a thread of its own, at once or after :meth:`resume`."""
        if not paused:
            self._go.set()
        self._thread = threading.Thread(
            target=self._run, args=(stopped,), name=f"vcpu{self.number}", daemon=True
        )
        self._thread.start()

    def pause(self) -> None:
        """Leave the guest and wait there; returns when that is so."""
        self._go.clear()
        while not self._parked.is_set():
            self._kick()
            self._parked.wait(0.002)

    def resume(self) -> None:
        """Go on after :meth:`pause`."""
        self._parked.clear()
        self._go.set()

    def stop(self) -> None:
        """End the thread."""
        self._end = True
        self._go.set()
        while (
            self._thread is not None
            and self._thread.is_alive()
            and self._thread is not threading.current_thread()
        ):
            self._kick()
            self._thread.join(0.005)

    def close(self) -> None:
        """Give up the CPU, after :meth:`stop`. The mapping holds a descriptor of its own."""
        self._state.close()
        os.close(self.fd)

    def _kick(self) -> None:
        """Make KVM_RUN return: the flag if it is about to be entered, the signal if it runs."""
        self._state[_IMMEDIATE_EXIT] = 1
        if self._thread is not None and self._thread.ident is not None and self._thread.is_alive():
            signal.pthread_kill(self._thread.ident, KICK)

    def _run(self, stopped: Callable[[str], None]) -> None:
        reason = "the CPU's thread failed"
        try:
            reason = self._loop()
        except GuestError as error:
            reason = str(error)
        finally:
            self._parked.set()
            if not self._end:
                stopped(reason)

    def _loop(self) -> str:
        state, fd, ioctl, run = self._state, self.fd, fcntl.ioctl, kvm.RUN
        while not self._end:
            if not self._go.is_set():
                if (final := self._complete()) is not None:
                    return final
                self._parked.set()
                self._go.wait()
                continue
            state[_IMMEDIATE_EXIT] = 0
            if not self._go.is_set():
                continue
            try:
                ioctl(fd, run, 0)
            except InterruptedError:
                continue
            except BlockingIOError:  # a CPU that the guest has not started yet
                continue
            if (final := self._handle()) is not None:
                return final
        return "stopped"

    def _complete(self) -> str | None:
        """Let KVM finish the instruction whose exit was answered: until then registers are not up to date.

        KVM finishes it at the next KVM_RUN, which this flag ends before the guest runs (api.rst, KVM_RUN).
        """
        while True:
            self._state[_IMMEDIATE_EXIT] = 1
            try:
                fcntl.ioctl(self.fd, kvm.RUN, 0)
            except (InterruptedError, BlockingIOError):
                return None
            if (final := self._handle()) is not None:
                return final

    def _handle(self) -> str | None:
        """Answer an exit; why the guest has ended, if it has."""
        self.exits += 1
        reason: int = _EXIT_REASON.unpack_from(self._state, 8)[0]
        if reason == kvm.EXIT_MMIO:
            self._memory()
        elif reason == kvm.EXIT_IO:
            self._port()
        elif reason not in (kvm.EXIT_INTR, kvm.EXIT_IRQ_WINDOW_OPEN, kvm.EXIT_HLT):
            return self._final(reason)
        return None

    def _final(self, reason: int) -> str:
        if reason in (kvm.EXIT_SHUTDOWN, kvm.EXIT_SYSTEM_EVENT):
            return "reset"
        if reason == kvm.EXIT_FAIL_ENTRY:
            raise GuestError("the CPU refused to run the guest", why=f"{self._detail():#x}")
        if reason == kvm.EXIT_INTERNAL_ERROR:
            raise GuestError("KVM cannot run the guest", why=f"internal error {self._detail() & 0xFFFFFFFF}")
        raise GuestError("KVM left the guest for an unknown reason", why=str(reason))

    def _detail(self) -> int:
        return int.from_bytes(self._state[_EXIT_DATA : _EXIT_DATA + 8], "little")

    def _memory(self) -> None:
        address, data, size, write = _MMIO.unpack_from(self._state, _EXIT_DATA)
        if write:
            self._memory_bus.write(address, data[:size])
        else:
            answer = self._memory_bus.read(address, size)
            self._state[_EXIT_DATA + 8 : _EXIT_DATA + 8 + size] = answer

    def _port(self) -> None:
        out, size, port, count, offset = _IO.unpack_from(self._state, _EXIT_DATA)
        for at in range(offset, offset + size * count, size):
            if out:
                self._ports.write(port, self._state[at : at + size])
            else:
                self._state[at : at + size] = self._ports.read(port, size)


def first_sregs(sregs: bytearray, entry: Entry) -> bytes:
    """The special registers for an entry: flat segments; paging for 64-bit mode only."""
    result = bytearray(sregs)
    long_mode = entry.long_mode
    code = kvm.SEGMENT.pack(
        0, 0xFFFFFFFF, 0x08, 0xB, 1, 0, 0 if long_mode else 1, 1, 1 if long_mode else 0, 1, 0, 0
    )
    data = kvm.SEGMENT.pack(0, 0xFFFFFFFF, 0x10, 0x3, 1, 0, 1, 1, 0, 1, 0, 0)
    task = kvm.SEGMENT.pack(0, 0x67, 0x18, 0xB, 1, 0, 0, 0, 0, 0, 0, 0)
    # cs, ds, es, fs, gs, ss, tr, ldt
    for index, segment in enumerate((code, data, data, data, data, data, task)):
        result[index * 24 : index * 24 + 24] = segment
    at = _SREGS_CR0
    cr0, cr2, cr3, cr4, cr8, efer = struct.unpack_from("=6Q", result, at)
    if long_mode:
        cr0, cr3, cr4 = _CR0_PE | _CR0_ET | _CR0_PG, layout.PAGE_TABLES, _CR4_PAE
        efer |= _EFER_LME | _EFER_LMA
    else:
        cr0, cr4, efer = _CR0_PE | _CR0_ET, 0, 0
    struct.pack_into("=6Q", result, at, cr0, cr2, cr3, cr4, cr8, efer)
    return bytes(result)


def cpuid(entries: list[tuple[int, ...]], number: int, count: int) -> list[tuple[int, ...]]:
    """What CPU NUMBER of COUNT answers: the host's abilities, and its own place among the CPUs."""
    result: list[tuple[int, ...]] = []
    for function, index, flags, eax, ebx, ecx, edx in entries:
        if function == 1:
            ebx = ebx & 0x0000FFFF | count << 16 & 0xFF0000 | number << 24
            ecx |= 1 << 31 | _TSC_DEADLINE  # a hypervisor is there; its chips have that timer
        elif function in (0x0B, 0x1F):
            level = (1, 1) if index == 0 else (2, count) if index == 1 else (0, 0)
            eax, ebx = (0 if index == 0 else max(1, (count - 1).bit_length())) if level[0] else 0, level[1]
            ecx, edx = index | level[0] << 8, number
        elif function == 0x8000001E:
            eax, ebx, ecx = number, number & 0xFF, 0
        elif function == 0x80000008:
            ecx = ecx & ~0xF0FF | count - 1
        result.append((function, index, flags, eax, ebx, ecx, edx))
    return result
