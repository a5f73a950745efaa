"""The guest's memory: anonymous or from a file, in one or two pieces around the hole below 4 GiB."""

from __future__ import annotations

import mmap
import os
import struct

from trimaran.errors import KernelError

HOLE_START = 0xC000_0000
HOLE_END = 0x1_0000_0000
_MADV_HUGEPAGE = 14
_MADV_DONTNEED = 4
_PAGE = 4096


class GuestFault(Exception):
    """The guest named an address that is not its memory."""


class Region:
    """One piece: SIZE bytes at guest address START."""

    def __init__(self, start: int, size: int, content: mmap.mmap) -> None:
        self.start = start
        self.end = start + size
        self.size = size
        self.mapping = content
        self.view = memoryview(content)


class GuestMemory:
    """All of a guest's memory. Accesses outside raise :class:`GuestFault`."""

    def __init__(self, size: int, file: int | None = None) -> None:
        """FILE holds the content and is mapped privately: it never changes. Raises :class:`KernelError`."""
        self.size = size
        self.regions: list[Region] = []
        offset = 0
        for start, length in pieces(size):
            self.regions.append(Region(start, length, _map(length, file, offset)))
            offset += length

    def view(self, address: int, length: int) -> memoryview:
        """LENGTH bytes at a guest address, which must lie in one piece."""
        for region in self.regions:
            if region.start <= address and address + length <= region.end:
                at = address - region.start
                return region.view[at : at + length]
        raise GuestFault(f"{length} bytes at {address:#x} are not the guest's memory")

    def read(self, address: int, length: int) -> bytes:
        """A copy of LENGTH bytes."""
        return bytes(self.view(address, length))

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Put DATA at a guest address."""
        self.view(address, len(data))[:] = data

    def unpack(self, form: struct.Struct, address: int) -> tuple[int, ...]:
        """A structure at a guest address."""
        return form.unpack(self.view(address, form.size))

    def discard(self, address: int, length: int) -> None:
        """Give whole pages back to the host; they read as zeros (or as the file has them) afterwards."""
        for region in self.regions:
            if region.start <= address and address + length <= region.end:
                region.mapping.madvise(_MADV_DONTNEED, address - region.start, length)
                return
        raise GuestFault(f"{length} bytes at {address:#x} are not the guest's memory")

    def close(self) -> None:
        """Drop the views. The mappings go with the last of those that devices hold."""
        for region in self.regions:
            region.view.release()


def pieces(size: int) -> list[tuple[int, int]]:
    """(start, length) of each piece of SIZE bytes of memory: devices' addresses lie below 4 GiB."""
    low = min(size, HOLE_START)
    return [(0, low)] if size == low else [(0, low), (HOLE_END, size - low)]


def _map(length: int, file: int | None, offset: int) -> mmap.mmap:
    try:
        if file is None:
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000  # MAP_NORESERVE
            mapping = mmap.mmap(-1, length, flags=flags)
        else:
            mapping = mmap.mmap(file, length, flags=mmap.MAP_PRIVATE, offset=offset)
    except OSError as error:
        raise KernelError("mmap", error.errno or 0, hint="give the machine less memory") from error
    if file is None:
        try:
            mapping.madvise(_MADV_HUGEPAGE)
        except OSError:  # a kernel without huge pages: slower, and no less right
            return mapping
    return mapping


def save(memory: GuestMemory, path: str) -> None:
    """Write all memory to a file, leaving holes for pages of zeros."""
    with open(path, "wb", buffering=0) as file:
        fd = file.fileno()
        os.ftruncate(fd, memory.size)
        offset = 0
        for region in memory.regions:
            for at in range(0, region.size, 1 << 20):
                part = region.view[at : at + (1 << 20)]
                if any(part):
                    os.pwrite(fd, part, offset + at)
            offset += region.size
