"""Split virtqueues (virtio 1.2, section 2.7), with everything that the driver writes checked.

Addresses are taken once, when the queue is made ready: writes to the registers afterwards change nothing
(CVE-2026-5747). Every index and descriptor is read once. A chain has at most as many descriptors as the
queue has entries, so a loop ends.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from trimaran.vm.vmm.memory import GuestFault, GuestMemory

MAX_SIZE = 256
_DESCRIPTOR = struct.Struct("<QIHH")
_U16 = struct.Struct("<H")
_USED = struct.Struct("<II")
_NEXT, _WRITE, _INDIRECT = 1, 2, 4
_NO_INTERRUPT = 1
_USED_ENTRY = 8
# More in one buffer than any driver sends: what a chain may describe in all.
MAX_CHAIN_BYTES = 64 << 20


class RingError(Exception):
    """The driver broke the rules of the ring."""


@dataclass
class Chain:
    """One request: what the device may read, then what it may write."""

    head: int
    readable: list[memoryview]
    writable: list[memoryview]

    @property
    def read_size(self) -> int:
        """Bytes that the driver gave."""
        return sum(len(part) for part in self.readable)

    @property
    def write_size(self) -> int:
        """Bytes that the driver has room for."""
        return sum(len(part) for part in self.writable)

    def copy(self, limit: int) -> bytes:
        """At most LIMIT of the bytes that the driver gave, once: it may change them at any time."""
        result = bytearray()
        for part in self.readable:
            result += part[: limit - len(result)]
            if len(result) >= limit:
                break
        return bytes(result)

    def fill(self, data: bytes | memoryview) -> int:
        """Put DATA where the driver has room; returns how much fitted."""
        done = 0
        for part in self.writable:
            piece = data[done : done + len(part)]
            part[: len(piece)] = piece
            done += len(piece)
            if done == len(data):
                break
        return done


class Queue:
    """One virtqueue. ``size`` and the addresses are the driver's wishes until :meth:`activate`."""

    def __init__(self, memory: GuestMemory, limit: int = MAX_SIZE) -> None:
        self._memory = memory
        self.limit = limit
        self.reset()

    def reset(self) -> None:
        """As at power-on."""
        self.size = 0
        self.descriptors = self.available = self.used = 0
        self.ready = False
        self._table = self._avail = self._ring = memoryview(b"")
        self._next_available = 0
        self._next_used = 0

    def activate(self) -> None:
        """Take the addresses. Raises :class:`RingError` for a size or an address that cannot be."""
        if not 0 < self.size <= self.limit or self.size & (self.size - 1):
            raise RingError(f"a queue of {self.size} entries")
        if self.descriptors & 15 or self.available & 1 or self.used & 3:
            raise RingError("a misaligned ring")
        try:
            self._table = self._memory.view(self.descriptors, 16 * self.size)
            self._avail = self._memory.view(self.available, 6 + 2 * self.size)
            self._ring = self._memory.view(self.used, 6 + _USED_ENTRY * self.size)
        except GuestFault as error:
            raise RingError(str(error)) from None
        self.ready = True

    def pop(self) -> Chain | None:
        """The next request; None if there is none. Raises :class:`RingError`."""
        if not self.ready:
            return None
        available: int = _U16.unpack_from(self._avail, 2)[0]
        waiting = available - self._next_available & 0xFFFF
        if not waiting:
            return None
        if waiting > self.size:
            raise RingError(f"{waiting} requests in a queue of {self.size}")
        at = 4 + 2 * (self._next_available % self.size)
        head: int = _U16.unpack_from(self._avail, at)[0]
        chain = self._chain(head)
        self._next_available = self._next_available + 1 & 0xFFFF
        return chain

    def _chain(self, head: int) -> Chain:
        readable: list[memoryview] = []
        writable: list[memoryview] = []
        index, total = head, 0
        for _ in range(self.size):
            if index >= self.size:
                raise RingError(f"descriptor {index} of {self.size}")
            address, length, flags, following = _DESCRIPTOR.unpack_from(self._table, 16 * index)
            if flags & _INDIRECT:
                raise RingError("an indirect descriptor, which was not offered")
            total += length
            if total > MAX_CHAIN_BYTES:
                raise RingError("a request of absurd size")
            self._append(readable, writable, address, length, flags)
            if not flags & _NEXT:
                return Chain(head, readable, writable)
            index = following
        raise RingError("a loop of descriptors")

    def _append(
        self, readable: list[memoryview], writable: list[memoryview], address: int, length: int, flags: int
    ) -> None:
        try:
            part = self._memory.view(address, length)
        except GuestFault as error:
            raise RingError(str(error)) from None
        if flags & _WRITE:
            writable.append(part)
        elif writable:
            raise RingError("a readable part after a writable one")
        else:
            readable.append(part)

    def push(self, chain: Chain, written: int) -> None:
        """Give a request back, saying how much was written into it."""
        _USED.pack_into(self._ring, 4 + _USED_ENTRY * (self._next_used % self.size), chain.head, written)
        self._next_used = self._next_used + 1 & 0xFFFF
        _U16.pack_into(self._ring, 2, self._next_used)

    def wants_interrupt(self) -> bool:
        """Whether the driver wants to be told of what was given back."""
        if not self.ready:
            return False
        flags: int = _U16.unpack_from(self._avail, 0)[0]
        return not flags & _NO_INTERRUPT

    def undo_pop(self) -> None:
        """Leave the request that was taken last in the queue: there is nothing for it yet."""
        self._next_available = self._next_available - 1 & 0xFFFF

    def save(self) -> dict[str, int]:
        """The state for a snapshot."""
        return {
            "size": self.size,
            "descriptors": self.descriptors,
            "available": self.available,
            "used": self.used,
            "ready": int(self.ready),
            "next_available": self._next_available,
            "next_used": self._next_used,
        }

    def restore(self, state: dict[str, int]) -> None:
        """What :meth:`save` gave; it is checked as a driver's wishes are."""
        self.size, self.descriptors = state["size"], state["descriptors"]
        self.available, self.used = state["available"], state["used"]
        if state["ready"]:
            self.activate()
        self._next_available, self._next_used = state["next_available"] & 0xFFFF, state["next_used"] & 0xFFFF
