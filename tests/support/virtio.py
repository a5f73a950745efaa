"""A driver for tests: guest memory with a queue in it, laid out by hand."""

from __future__ import annotations

import struct

from trimaran.vm.vmm.memory import GuestMemory
from trimaran.vm.vmm.virtio.device import VERSION_1, Device
from trimaran.vm.vmm.virtio.mmio import Transport

MEMORY = 4 << 20
NEXT, WRITE, INDIRECT = 1, 2, 4
NEEDS_RESET = 64
DATA = 1 << 20

Descriptor = tuple[int, int, int, int]


class Driver:
    """Sets a device up through its registers. Queue N has its rings at 64 KiB times N + 1."""

    def __init__(self, memory: GuestMemory, device: Device, size: int = 8, queues: int | None = None) -> None:
        self.memory = memory
        self.size = size
        self.interrupts = 0
        self.transport = Transport(device, self._interrupted)
        self.made = [0] * len(device.queues)
        for status in (1, 3):
            self.set(0x70, status)
        self.set(0x24, 1)
        self.set(0x20, VERSION_1 >> 32)
        self.set(0x70, 11)
        for number in range(len(device.queues) if queues is None else queues):
            self.make_queue(number)
        self.set(0x70, 15)

    def _interrupted(self) -> None:
        self.interrupts += 1

    def set(self, offset: int, value: int) -> None:
        self.transport.write(offset, struct.pack("<I", value))

    def get(self, offset: int) -> int:
        return int.from_bytes(self.transport.read(offset, 4), "little")

    @staticmethod
    def rings(queue: int) -> tuple[int, int, int]:
        base = 0x10000 * (queue + 1)
        return base, base + 0x1000, base + 0x2000

    def make_queue(self, number: int) -> None:
        self.set(0x30, number)
        self.set(0x38, self.size)
        for offset, address in zip((0x80, 0x90, 0xA0), self.rings(number), strict=True):
            self.set(offset, address)
            self.set(offset + 4, 0)
        self.set(0x44, 1)

    def describe(self, queue: int, *descriptors: Descriptor) -> None:
        """Fill the table from its beginning."""
        table = self.rings(queue)[0]
        for index, descriptor in enumerate(descriptors):
            self.memory.write(table + 16 * index, struct.pack("<QIHH", *descriptor))

    def offer(self, queue: int, head: int = 0, count: int = 1) -> None:
        """Make a chain available, and say that COUNT more are."""
        available = self.rings(queue)[1]
        at = available + 4 + 2 * (self.made[queue] % self.size)
        self.memory.write(at, struct.pack("<H", head))
        self.made[queue] += count
        self.memory.write(available + 2, struct.pack("<H", self.made[queue] & 0xFFFF))

    def send(self, queue: int, *descriptors: Descriptor) -> None:
        """Describe a chain, make it available and notify."""
        self.describe(queue, *descriptors)
        self.offer(queue)
        self.notify(queue)

    def notify(self, queue: int) -> None:
        self.set(0x50, queue)

    def used(self, queue: int) -> int:
        """How many requests were given back."""
        return int(struct.unpack("<H", self.memory.read(self.rings(queue)[2] + 2, 2))[0])

    def written(self, queue: int) -> int:
        """What the first request given back says was written."""
        return int(struct.unpack("<I", self.memory.read(self.rings(queue)[2] + 8, 4))[0])

    @property
    def broken(self) -> bool:
        """Whether the device has stopped until it is reset."""
        return bool(self.get(0x70) & NEEDS_RESET)
