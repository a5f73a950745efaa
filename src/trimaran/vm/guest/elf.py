"""Reads the few parts of 64-bit little-endian ELF files that a VMM needs (gabi 4.1, elf(5))."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from trimaran.errors import InvalidInput

PT_LOAD = 1
PT_NOTE = 4
EM_X86_64 = 62
XEN_ELFNOTE_PHYS32_ENTRY = 18
_MAX_ENTRIES = 4096
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")


@dataclass(frozen=True)
class Segment:
    """One program header: where ``size`` bytes at ``offset`` go in physical memory."""

    type: int
    offset: int
    physical: int
    size: int
    memory_size: int


class ElfFile:
    """A parsed file. Every offset is checked against the data. Raises :class:`InvalidInput`."""

    def __init__(self, data: bytes | memoryview, name: str = "ELF file") -> None:
        self.data = memoryview(data)
        self.name = name
        if len(data) < _HEADER.size or bytes(self.data[:6]) != b"\x7fELF\x02\x01":
            raise InvalidInput(f"{name} cannot be used", why="it is not a 64-bit little-endian ELF file")
        fields = _HEADER.unpack_from(self.data)
        self.machine: int = fields[2]
        self.entry: int = fields[4]
        self._program_table = fields[5], fields[9], fields[10]
        self._section_table = fields[6], fields[11], fields[12]
        self._names = fields[13]

    def part(self, offset: int, size: int) -> memoryview:
        """The bytes at OFFSET."""
        if offset + size > len(self.data):
            raise InvalidInput(f"{self.name} cannot be used", why="it is cut short, or its headers lie")
        return self.data[offset : offset + size]

    def segments(self) -> Iterator[Segment]:
        """The program headers."""
        for entry in self._table(*self._program_table, _PROGRAM):
            kind, _, offset, _, physical, size, memory_size, _ = entry
            yield Segment(kind, offset, physical, size, memory_size)

    def section(self, name: str) -> bytes | None:
        """The content of the section of that name, None if there is none."""
        table = list(self._table(*self._section_table, _SECTION))
        if self._names >= len(table):
            return None
        names = bytes(self.part(table[self._names][4], table[self._names][5]))
        wanted = name.encode() + b"\0"
        for entry in table:
            if names.startswith(wanted, entry[0]):
                return bytes(self.part(entry[4], entry[5]))
        return None

    def notes(self) -> Iterator[tuple[bytes, int, bytes]]:
        """(owner, type, content) of the notes in PT_NOTE segments."""
        for segment in self.segments():
            if segment.type == PT_NOTE:
                yield from self._notes(self.part(segment.offset, segment.size))

    def pvh_entry(self) -> int | None:
        """The 32-bit physical entry point of the PVH boot protocol, if the kernel has it."""
        for owner, kind, content in self.notes():
            if owner == b"Xen" and kind == XEN_ELFNOTE_PHYS32_ENTRY and len(content) in (4, 8):
                return int.from_bytes(content, "little")
        return None

    def _table(self, offset: int, size: int, count: int, form: struct.Struct) -> Iterator[tuple[int, ...]]:
        if count > _MAX_ENTRIES or (count and size != form.size):
            raise InvalidInput(f"{self.name} cannot be used", why="its headers have an unknown form")
        table = self.part(offset, size * count)
        return form.iter_unpack(table)

    @staticmethod
    def _notes(data: memoryview) -> Iterator[tuple[bytes, int, bytes]]:
        at = 0
        while at + 12 <= len(data):
            owner_size, size, kind = struct.unpack_from("<III", data, at)
            owner = bytes(data[at + 12 : at + 12 + owner_size]).rstrip(b"\0")
            start = at + 12 + _aligned(owner_size)
            yield owner, kind, bytes(data[start : start + size])
            at = start + _aligned(size)


def module_dependencies(data: bytes, name: str) -> list[str]:
    """The modules that kernel module NAME says it needs."""
    info = ElfFile(data, f"kernel module {name}").section(".modinfo") or b""
    for item in info.split(b"\0"):
        if item.startswith(b"depends="):
            return [word for word in item[8:].decode("ascii", "replace").split(",") if word]
    return []


def _aligned(size: int) -> int:
    return (size + 3) & ~3
