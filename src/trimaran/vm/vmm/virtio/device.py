"""What every virtio device is."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from trimaran.vm.vmm.memory import GuestMemory
from trimaran.vm.vmm.virtio.queue import Queue

if TYPE_CHECKING:
    from trimaran.vm.vmm.events import Events
    from trimaran.vm.vmm.virtio.mmio import Transport

VERSION_1 = 1 << 32
MAX_QUEUES = 16


class Device:
    """A device: its kind, features, queues and configuration space.

    :meth:`notified` and everything that :class:`Events` calls run in the device thread, holding ``lock``;
    the transport's registers are served by CPUs' threads, which hold it for changes of state only.
    """

    kind = 0
    features = 0
    queue_count = 1

    def __init__(self, memory: GuestMemory) -> None:
        self.memory = memory
        self.queues = [Queue(memory) for _ in range(self.queue_count)]
        self.lock = threading.RLock()
        self.transport: Transport | None = None
        self.active = False
        self.negotiated = 0

    def config(self) -> bytes:
        """The configuration space."""
        return b""

    def write_config(self, offset: int, data: bytes) -> None:
        """The driver writes to the configuration space: ignored unless a device says otherwise."""

    def attach(self, events: Events) -> None:
        """Register what the device waits for."""

    def activated(self) -> None:
        """The driver is ready (DRIVER_OK)."""

    def reset(self) -> None:
        """The driver has reset the device; the queues are reset already."""

    def notified(self, queue: int) -> None:
        """The driver has put something into a queue. Raises RingError."""

    def interrupt(self, queue: Queue) -> None:
        """Tell the driver that something was given back, if it wants to know."""
        if self.transport is not None and queue.wants_interrupt():
            self.transport.interrupt_queue()

    def close(self) -> None:
        """Give up descriptors."""

    def save(self) -> dict[str, Any]:
        """The device's own state for a snapshot."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """What :meth:`save` gave."""
