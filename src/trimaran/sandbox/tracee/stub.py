"""The stub: where it lies, and how its image record is written (native/sandbox/stub.h)."""

from __future__ import annotations

import os
import struct

from trimaran.errors import Unsupported
from trimaran.sandbox.tracee.image import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, Image

PF_X = 1
EXEC_OFFSET, CALL_OFFSET, REPORT_OFFSET = 64, 128, 192
"""Where trimaran_exec, trimaran_call and trimaran_report are, from the start of the text."""
SCRATCH = 8192
"""Stack that the stub itself may use while it loads an image."""


class Stub:
    """The stub's bytes and the addresses in it that matter."""

    def __init__(self, path: str | None = None) -> None:
        path = path or os.path.join(
            os.path.dirname(os.path.dirname(os.path.dirname(__file__))), "_bin", "trimaran-stub"
        )
        try:
            with open(path, "rb") as file:
                self.data = file.read()
        except OSError as error:
            raise Unsupported(
                "the sandbox's stub is missing", why=str(error), hint="build Trimaran with a C compiler"
            ) from error
        phoff, phnum = struct.unpack_from("<Q", self.data, 32)[0], struct.unpack_from("<H", self.data, 56)[0]
        for index in range(phnum):
            kind, flags, _off, address, _pa, size, _mem, _align = struct.unpack_from(
                "<IIQQQQQQ", self.data, phoff + 56 * index
            )
            if kind == 1 and flags & PF_X:
                self.start, self.end = address, address + size
        self.exec = self.start + EXEC_OFFSET
        self.call = self.start + CALL_OFFSET
        self.report = self.start + REPORT_OFFSET


def pack_image(image: Image, stack: int, numbers: list[int]) -> bytes:
    """``struct image``; NUMBERS are the task's descriptors of the program and its interpreter."""
    parts = [struct.pack("<QQ16sII", image.entry, stack, image.name, len(image.mappings), 0)]
    for m in image.mappings:
        flags = MAP_PRIVATE | MAP_FIXED | (MAP_ANONYMOUS if m.which < 0 else 0)
        fd = numbers[m.which] if m.which >= 0 else -1
        parts.append(
            struct.pack(
                "<QQQQQiiii",
                *(m.address, m.length, m.offset, m.zero_from, m.zero_to, m.protection, flags, fd, 0),
            )
        )
    return b"".join(parts)
