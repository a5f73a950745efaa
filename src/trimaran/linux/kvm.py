"""KVM's ioctls (Linux Documentation/virt/kvm/api.rst, include/uapi/linux/kvm.h), x86 part as far as used.

Structures go as bytes: their forms are the :class:`struct.Struct` objects here. ``fcntl.ioctl`` lets other
threads run meanwhile only for a whole number or a buffer of at most 1,024 bytes: KVM_RUN takes a number.
"""

from __future__ import annotations

import fcntl
import struct
from collections.abc import Sequence

from trimaran.linux import _sys

_TYPE = 0xAE


def _io(number: int) -> int:
    return _TYPE << 8 | number


def _iow(number: int, size: int) -> int:
    return 1 << 30 | size << 16 | _TYPE << 8 | number


def _ior(number: int, size: int) -> int:
    return 2 << 30 | size << 16 | _TYPE << 8 | number


def _iowr(number: int, size: int) -> int:
    return 3 << 30 | size << 16 | _TYPE << 8 | number


GET_API_VERSION, CREATE_VM, CHECK_EXTENSION, GET_VCPU_MMAP_SIZE = _io(0x00), _io(0x01), _io(0x03), _io(0x04)
GET_SUPPORTED_CPUID = _iowr(0x05, 8)
GET_MSR_INDEX_LIST = _iowr(0x02, 4)
CREATE_VCPU = _io(0x41)
SET_USER_MEMORY_REGION = _iow(0x46, 32)
CREATE_IRQCHIP = _io(0x60)
GET_IRQCHIP, SET_IRQCHIP = _iowr(0x62, 520), _ior(0x63, 520)
IRQFD, CREATE_PIT2, IOEVENTFD = _iow(0x76, 32), _iow(0x77, 64), _iow(0x79, 64)
SET_CLOCK, GET_CLOCK = _iow(0x7B, 48), _ior(0x7C, 48)
GET_PIT2, SET_PIT2 = _ior(0x9F, 112), _iow(0xA0, 112)
RUN = _io(0x80)
GET_REGS, SET_REGS = _ior(0x81, 144), _iow(0x82, 144)
GET_SREGS, SET_SREGS = _ior(0x83, 312), _iow(0x84, 312)
GET_MSRS, SET_MSRS = _iowr(0x88, 8), _iow(0x89, 8)
GET_FPU, SET_FPU = _ior(0x8C, 416), _iow(0x8D, 416)
GET_LAPIC, SET_LAPIC = _ior(0x8E, 1024), _iow(0x8F, 1024)
SET_CPUID2 = _iow(0x90, 8)
GET_MP_STATE, SET_MP_STATE = _ior(0x98, 4), _iow(0x99, 4)
GET_VCPU_EVENTS, SET_VCPU_EVENTS = _ior(0x9F, 64), _iow(0xA0, 64)
GET_DEBUGREGS, SET_DEBUGREGS = _ior(0xA1, 128), _iow(0xA2, 128)
SET_TSC_KHZ, GET_TSC_KHZ = _io(0xA2), _io(0xA3)
GET_XSAVE, SET_XSAVE = _ior(0xA4, 4096), _iow(0xA5, 4096)
GET_XCRS, SET_XCRS = _ior(0xA6, 392), _iow(0xA7, 392)
KVMCLOCK_CTRL = _io(0xAD)

EXIT_IO, EXIT_HLT, EXIT_MMIO, EXIT_IRQ_WINDOW_OPEN, EXIT_SHUTDOWN, EXIT_FAIL_ENTRY = 2, 5, 6, 7, 8, 9
EXIT_INTR, EXIT_INTERNAL_ERROR, EXIT_SYSTEM_EVENT = 10, 17, 24

MEMORY_REGION = struct.Struct("=IIQQQ")  # slot, flags, guest address, size, host address
MEM_LOG_DIRTY_PAGES = 1
GET_DIRTY_LOG = _iow(0x42, 16)
DIRTY_LOG = struct.Struct("=IIQ")  # slot, padding, address of the bitmap
SEGMENT = struct.Struct("=QIHBBBBBBBBBx")
_IRQFD = struct.Struct("=IIII16x")
_IOEVENTFD = struct.Struct("=QQIiI36x")
_IOEVENTFD_DATAMATCH = 1
_PIT_CONFIG = struct.Struct("=I60x")
_PIT_SPEAKER_DUMMY = 1
CPUID_ENTRY = struct.Struct("=IIIIIII12x")  # function, index, flags, eax, ebx, ecx, edx
_MSR = struct.Struct("=IIQ")
_MAX_CPUID = 256


def region(vm: int, slot: int, address: int, buffer: object, size: int, flags: int = 0) -> None:
    """Make a buffer of this process the guest's memory at a physical address; SIZE 0 takes it away."""
    host = _sys.buffer_address(buffer)
    fcntl.ioctl(vm, SET_USER_MEMORY_REGION, MEMORY_REGION.pack(slot, flags, address, size, host))


def irqfd(vm: int, event: int, interrupt: int) -> None:
    """Raise an interrupt line of the chips whenever EVENT is written to (eventfd(2))."""
    fcntl.ioctl(vm, IRQFD, _IRQFD.pack(event, interrupt, 0, 0))


def ioeventfd(vm: int, event: int, address: int, value: int) -> None:
    """Signal EVENT, without an exit, whenever the guest writes the 32-bit VALUE to ADDRESS."""
    fcntl.ioctl(vm, IOEVENTFD, _IOEVENTFD.pack(value, address, 4, event, _IOEVENTFD_DATAMATCH))


def create_chips(vm: int) -> None:
    """The interrupt controllers and the timer, in the kernel."""
    fcntl.ioctl(vm, CREATE_IRQCHIP, 0)
    fcntl.ioctl(vm, CREATE_PIT2, _PIT_CONFIG.pack(_PIT_SPEAKER_DUMMY))


def supported_cpuid(kvm: int) -> list[tuple[int, ...]]:
    """What the host can show a guest: (function, index, flags, eax, ebx, ecx, edx) each."""
    buffer = bytearray(struct.pack("=II", _MAX_CPUID, 0) + bytes(_MAX_CPUID * CPUID_ENTRY.size))
    fcntl.ioctl(kvm, GET_SUPPORTED_CPUID, buffer)
    count: int = struct.unpack_from("=I", buffer)[0]
    return [CPUID_ENTRY.unpack_from(buffer, 8 + i * CPUID_ENTRY.size) for i in range(count)]


def set_cpuid(vcpu: int, entries: Sequence[Sequence[int]]) -> None:
    """Say what CPUID answers."""
    body = b"".join(CPUID_ENTRY.pack(*entry) for entry in entries)
    fcntl.ioctl(vcpu, SET_CPUID2, bytearray(struct.pack("=II", len(entries), 0) + body))


def msr_indices(kvm: int) -> list[int]:
    """The model-specific registers that must be saved with a guest."""
    buffer = bytearray(struct.pack("=I", 1024) + bytes(4096))
    fcntl.ioctl(kvm, GET_MSR_INDEX_LIST, buffer)
    count: int = struct.unpack_from("=I", buffer)[0]
    return list(struct.unpack_from(f"={count}I", buffer, 4))


def get_msrs(vcpu: int, indices: Sequence[int]) -> list[tuple[int, int]]:
    """(index, value) of each register that can be read."""
    found = []
    for index in indices:
        buffer = bytearray(struct.pack("=II", 1, 0) + _MSR.pack(index, 0, 0))
        if fcntl.ioctl(vcpu, GET_MSRS, buffer) == 1:
            found.append((index, _MSR.unpack_from(buffer, 8)[2]))
    return found


def set_msrs(vcpu: int, values: Sequence[tuple[int, int]]) -> int:
    """Set registers; returns how many the kernel took."""
    taken = 0
    for index, value in values:
        buffer = bytearray(struct.pack("=II", 1, 0) + _MSR.pack(index, 0, value))
        taken += fcntl.ioctl(vcpu, SET_MSRS, buffer)
    return taken


def get(fd: int, request: int) -> bytearray:
    """The structure that a GET_... request fills in."""
    buffer = bytearray(request >> 16 & 0x3FFF)
    fcntl.ioctl(fd, request, buffer)
    return buffer


def put(fd: int, request: int, data: bytes | bytearray) -> None:
    """Give a SET_... request its structure."""
    fcntl.ioctl(fd, request, bytearray(data))
