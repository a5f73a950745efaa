"""The wire form of the agent's protocol (docs/internals/agent.md); native/agent/agent.h is its other side.

A frame is 12 bytes (u32 size of the payload, u16 kind, u16 zero, u32 channel, little endian), then the
payload. What the guest sends is hostile input: sizes are bounded before anything is kept.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum

from trimaran.errors import GuestError

VERSION = 1
WINDOW = 256 << 10
# A guest's largest frame: a FUSE request to write 1 MiB, with its headers.
MAX_FRAME = 1_100_000
MAX_CALL = 4 << 20
HEADER = struct.Struct("<IHHI")
_LENGTH = struct.Struct("<I")
_NUMBER = struct.Struct("<Q")


class Kind(IntEnum):
    """What a frame is."""

    CALL = 1
    REPLY = 2
    DATA = 3
    END = 4
    CREDIT = 5
    EXIT = 6
    READY = 7


class Op(IntEnum):
    """What the host can ask of the agent; the table in native/agent/calls.c has the same numbers."""

    MODULE = 1
    MKDIR = 2
    MOUNT = 3
    UMOUNT = 4
    WRITE = 5
    READ = 6
    RMDIR = 7
    NETLINK = 8
    CLOCK = 9
    ENTROPY = 10
    HOSTNAME = 11
    PROCESS = 12
    START = 13
    SIGNAL = 14
    RESIZE = 15
    SHARE = 16
    UNAME = 17
    POWEROFF = 18
    SYNC = 19


Argument = str | bytes | int


def frame(kind: Kind, channel: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return HEADER.pack(len(payload), kind, 0, channel) + payload


def call(number: int, operation: Op, arguments: tuple[Argument, ...]) -> bytes:
    """The frame of a call. Raises :class:`ValueError` if it is larger than the agent takes."""
    parts = [struct.pack("<H", operation)]
    for argument in arguments:
        if isinstance(argument, int):
            data = _NUMBER.pack(argument)
        else:
            data = argument.encode() if isinstance(argument, str) else argument
        parts += [_LENGTH.pack(len(data)), data]
    payload = b"".join(parts)
    if len(payload) > MAX_CALL:
        raise ValueError(f"a call of {len(payload)} bytes is too large for the agent")
    return frame(Kind.CALL, number, payload)


class Decoder:
    """Cuts a guest's byte stream into frames. Raises :class:`GuestError` for what cannot be one."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Kind, int, bytes]]:
        """(kind, channel, payload) of every frame that DATA completes."""
        self._buffer += data
        at = 0
        try:
            while len(self._buffer) - at >= HEADER.size:
                size, kind, zero, channel = HEADER.unpack_from(self._buffer, at)
                if size > MAX_FRAME or zero or not Kind.REPLY <= kind <= Kind.READY:
                    raise GuestError(
                        "the guest's agent broke the protocol", why=f"frame {kind} of {size} bytes"
                    )
                end = at + HEADER.size + size
                if len(self._buffer) < end:
                    break
                payload = bytes(self._buffer[at + HEADER.size : end])
                at = end
                yield Kind(kind), channel, payload
        finally:
            del self._buffer[:at]


def reply_parts(payload: bytes) -> tuple[int, bytes]:
    """(errno, result) of a REPLY's payload."""
    if len(payload) < 4:
        raise GuestError("the guest's agent broke the protocol", why="a reply without its status")
    status: int = struct.unpack_from("<i", payload)[0]
    return status, payload[4:]


def u32(payload: bytes) -> int:
    """The number that is the whole payload of CREDIT, EXIT and READY."""
    if len(payload) != 4:
        raise GuestError("the guest's agent broke the protocol", why="a number of the wrong size")
    return int.from_bytes(payload, "little")


def decimal(text: bytes | str) -> int:
    """A number that the guest wrote as text. Raises :class:`GuestError` for anything else."""
    text = text.decode("ascii", "replace") if isinstance(text, bytes) else text
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise GuestError("the guest's agent broke the protocol", why=f"{text[:20]!r} is no number")
    return int(text)
