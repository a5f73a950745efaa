"""What the kernel finds in memory when it starts, and the first CPU's registers.

Two ways in: PVH (Xen docs/misc/pvh.pandoc: 32-bit protected mode, start info in ebx) and the 64-bit boot
protocol (Linux Documentation/arch/x86/boot.rst: paging on, boot_params in rsi).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from trimaran.errors import InvalidInput
from trimaran.vm.guest.bzimage import extract_vmlinux, is_bzimage
from trimaran.vm.guest.elf import EM_X86_64, PT_LOAD, ElfFile
from trimaran.vm.vmm import layout
from trimaran.vm.vmm.memory import GuestFault, GuestMemory, pieces

_START_INFO = struct.Struct("<IIIIQQQQII")
_START_MAGIC = 0x336EC578
_MODULE = struct.Struct("<QQQQ")
_MAP_ENTRY = struct.Struct("<QQII")
_E820_ENTRY = struct.Struct("<QQI")
_RAM, _RESERVED = 1, 2
_HDR_OFFSET = 0x1F1
_PAGE = 4096


@dataclass(frozen=True)
class Entry:
    """Where the first CPU starts: address, whether in 64-bit mode, and the pointer that it is given."""

    address: int
    long_mode: bool
    argument: int


def load(
    memory: GuestMemory, kernel: bytes | memoryview, initramfs: bytes, command_line: str, rsdp: int
) -> Entry:
    """Put the kernel, its initramfs and command line into memory. Raises :class:`InvalidInput`."""
    if is_bzimage(kernel):
        kernel = extract_vmlinux(bytes(kernel))
    elf = ElfFile(kernel, "the kernel")
    if elf.machine != EM_X86_64:
        raise InvalidInput("the kernel cannot be used", why=f"it is for machine {elf.machine}, not x86-64")
    try:
        end = _load_segments(memory, elf)
        initramfs_at = _load_initramfs(memory, initramfs, end)
    except GuestFault as error:
        raise InvalidInput("the kernel does not fit into the machine's memory", why=str(error)) from error
    text = command_line.encode()
    if len(text) >= layout.COMMAND_LINE_SIZE or b"\0" in text:
        raise InvalidInput("the kernel's command line is too long", why=f"{len(text)} bytes")
    memory.write(layout.COMMAND_LINE, text + b"\0")
    pvh = elf.pvh_entry()
    if pvh is not None:
        _start_info(memory, initramfs_at, len(initramfs), rsdp)
        return Entry(pvh, False, layout.START_INFO)
    _boot_params(memory, initramfs_at, len(initramfs), rsdp)
    _page_tables(memory)
    return Entry(elf.entry, True, layout.ZERO_PAGE)


def _load_segments(memory: GuestMemory, elf: ElfFile) -> int:
    end = 0
    for segment in elf.segments():
        if segment.type == PT_LOAD and segment.memory_size:
            if segment.physical < layout.KERNEL:
                raise InvalidInput("the kernel cannot be used", why="a segment lies below 1 MiB")
            memory.write(segment.physical, elf.part(segment.offset, segment.size))
            memory.view(segment.physical, segment.memory_size)
            end = max(end, segment.physical + segment.memory_size)
    return end


def _load_initramfs(memory: GuestMemory, initramfs: bytes, kernel_end: int) -> int:
    if not initramfs:
        return 0
    low = pieces(memory.size)[0][1]
    address = (low - len(initramfs)) // _PAGE * _PAGE
    if address < kernel_end:
        raise InvalidInput("the initramfs does not fit into the machine's memory", hint="give it more memory")
    memory.write(address, initramfs)
    return address


def memory_map(size: int) -> list[tuple[int, int, int]]:
    """(start, length, type) as the kernel is told it (e820)."""
    low, *high = pieces(size)
    result = [
        (0, 0x9FC00, _RAM),
        (0x9FC00, layout.KERNEL - 0x9FC00, _RESERVED),
        (layout.KERNEL, low[1] - layout.KERNEL, _RAM),
    ]
    return result + [(start, length, _RAM) for start, length in high]


def _start_info(memory: GuestMemory, initramfs: int, size: int, rsdp: int) -> None:
    entries = memory_map(memory.size)
    memory.write(layout.MEMORY_MAP, b"".join(_MAP_ENTRY.pack(*entry, 0) for entry in entries))
    if size:
        memory.write(layout.MODULES, _MODULE.pack(initramfs, size, 0, 0))
    info = _START_INFO.pack(
        *(_START_MAGIC, 1, 0, 1 if size else 0, layout.MODULES, layout.COMMAND_LINE, rsdp),
        *(layout.MEMORY_MAP, len(entries), 0),
    )
    memory.write(layout.START_INFO, info)


def _boot_params(memory: GuestMemory, initramfs: int, size: int, rsdp: int) -> None:
    page = bytearray(_PAGE)
    entries = memory_map(memory.size)
    struct.pack_into("<Q", page, 0x70, rsdp)
    page[0x1E8] = len(entries)
    struct.pack_into("<H", page, 0x1FE, 0xAA55)
    page[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", page, 0x206, 0x020C)
    page[0x210] = 0xFF  # an unregistered boot loader
    struct.pack_into("<II", page, 0x218, initramfs, size)
    struct.pack_into("<I", page, 0x228, layout.COMMAND_LINE)
    struct.pack_into("<I", page, 0x238, layout.COMMAND_LINE_SIZE - 1)
    for index, entry in enumerate(entries):
        _E820_ENTRY.pack_into(page, 0x2D0 + index * _E820_ENTRY.size, *entry)
    memory.write(layout.ZERO_PAGE, page)


def _page_tables(memory: GuestMemory) -> None:
    """The first GiB, mapped to itself by pages of 2 MiB."""
    pml4, pdpt, directory = layout.PAGE_TABLES, layout.PAGE_TABLES + _PAGE, layout.PAGE_TABLES + 2 * _PAGE
    memory.write(pml4, struct.pack("<Q", pdpt | 3))
    memory.write(pdpt, struct.pack("<Q", directory | 3))
    memory.write(directory, b"".join(struct.pack("<Q", page << 21 | 0x83) for page in range(512)))
