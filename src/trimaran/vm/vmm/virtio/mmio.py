"""The MMIO transport (virtio 1.2, section 4.2): registers, negotiation, interrupts.

The driver may touch any register at any time from any CPU. Queues are set up only between FEATURES_OK and
DRIVER_OK; a ready queue's addresses are fixed until reset.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trimaran.vm.vmm.virtio.device import Device
from trimaran.vm.vmm.virtio.queue import Queue, RingError

_MAGIC = 0x74726976
_VENDOR = 0x4D525454
CONFIG = 0x100
NOTIFY = 0x50
_ACKNOWLEDGE, _DRIVER, _DRIVER_OK, _FEATURES_OK, _NEEDS_RESET, _FAILED = 1, 2, 4, 8, 64, 128
_QUEUE_INTERRUPT, _CONFIG_INTERRUPT = 1, 2
_LOW = 0xFFFFFFFF


class Transport:
    """One device's registers. ``raise_line`` pulses its interrupt."""

    def __init__(self, device: Device, raise_line: Callable[[], None]) -> None:
        self.device = device
        device.transport = self
        self._raise_line = raise_line
        self._status = 0
        self._interrupts = 0
        self._features_page = 0
        self._driver_page = 0
        self._selected = 0
        self._generation = 0
        self.errors = 0

    def read(self, offset: int, size: int) -> bytes:
        """See :class:`trimaran.vm.vmm.bus.Registers`."""
        if offset >= CONFIG:
            at = offset - CONFIG
            return self.device.config()[at : at + size].ljust(size, b"\0")
        if size != 4:
            return bytes(size)
        return (self._register(offset) & _LOW).to_bytes(4, "little")

    def _register(self, offset: int) -> int:
        queue = self._queue()
        values = {
            0x00: _MAGIC,
            0x04: 2,
            0x08: self.device.kind,
            0x0C: _VENDOR,
            0x10: self.device.features >> 32 * self._features_page if self._features_page < 2 else 0,
            0x34: queue.limit if queue else 0,
            0x44: int(queue.ready) if queue else 0,
            0x60: self._interrupts,
            0x70: self._status,
            0xFC: self._generation,
        }
        return values.get(offset, 0)

    def _queue(self) -> Queue | None:
        queues = self.device.queues
        return queues[self._selected] if self._selected < len(queues) else None

    def write(self, offset: int, data: bytes) -> None:
        """See :class:`trimaran.vm.vmm.bus.Registers`."""
        if offset >= CONFIG:
            with self.device.lock:
                self.device.write_config(offset - CONFIG, data)
            return
        if len(data) != 4:
            return
        value = int.from_bytes(data, "little")
        if offset == NOTIFY:
            self.notify(value)
            return
        with self.device.lock:
            self._write_register(offset, value)

    def _write_register(self, offset: int, value: int) -> None:
        if offset == 0x14:
            self._features_page = value
        elif offset == 0x24:
            self._driver_page = value
        elif offset == 0x20:
            self._accept(value)
        elif offset == 0x30:
            self._selected = value
        elif offset == 0x64:
            self._interrupts &= ~value
        elif offset == 0x70:
            self._set_status(value)
        else:
            self._write_queue(offset, value)

    def _accept(self, value: int) -> None:
        if self._status & _FEATURES_OK or self._driver_page > 1:
            return
        shift = 32 * self._driver_page
        kept = self.device.negotiated & ~(_LOW << shift)
        self.device.negotiated = kept | value << shift

    def _set_status(self, value: int) -> None:
        if value == 0:
            self._reset()
            return
        if value & ~self._status & _FEATURES_OK and self.device.negotiated & ~self.device.features:
            value &= ~_FEATURES_OK  # the driver wants what was not offered
        started = value & ~self._status & _DRIVER_OK
        self._status = value & 0xFF | self._status & _NEEDS_RESET
        if started and self._status & _FEATURES_OK and not self._status & _NEEDS_RESET:
            self.device.active = True
            self.device.activated()

    def _reset(self) -> None:
        self._status = self._interrupts = self._selected = 0
        self.device.active = False
        self.device.negotiated = 0
        for queue in self.device.queues:
            queue.reset()
        self.device.reset()

    def _write_queue(self, offset: int, value: int) -> None:
        queue = self._queue()
        if queue is None or not self._status & _FEATURES_OK or self._status & _DRIVER_OK:
            return
        if offset == 0x44 and value == 1 and not queue.ready:
            try:
                queue.activate()
            except RingError:
                self._break()
        elif queue.ready:
            return
        elif offset == 0x38:
            queue.size = value
        elif offset in _ADDRESSES:
            name, shift = _ADDRESSES[offset]
            kept = getattr(queue, name) & ~(_LOW << shift)
            setattr(queue, name, kept | value << shift)

    def notify(self, index: int) -> None:
        """Let the device look at a queue; called for the register, or by the device thread for its event."""
        with self.device.lock:
            if not self.device.active or index >= len(self.device.queues):
                return
            try:
                self.device.notified(index)
            except RingError:
                self._break()

    def guard(self, action: Callable[[], None]) -> None:
        """Do something for the device that may meet a broken ring."""
        with self.device.lock:
            if self.device.active:
                try:
                    action()
                except RingError:
                    self._break()

    def _break(self) -> None:
        """Stop the device until the driver resets it (section 2.1.2)."""
        self.errors += 1
        self.device.active = False
        self._status |= _NEEDS_RESET
        self._interrupt(_CONFIG_INTERRUPT)

    def interrupt_queue(self) -> None:
        """Buffers were given back."""
        self._interrupt(_QUEUE_INTERRUPT)

    def interrupt_config(self) -> None:
        """The configuration space has changed."""
        self._generation = self._generation + 1 & _LOW
        self._interrupt(_CONFIG_INTERRUPT)

    def _interrupt(self, kind: int) -> None:
        with self.device.lock:
            self._interrupts |= kind
        self._raise_line()

    def save(self) -> dict[str, Any]:
        """The state for a snapshot, the device's with it."""
        return {
            "status": self._status,
            "interrupts": self._interrupts,
            "pages": [self._features_page, self._driver_page, self._selected, self._generation],
            "negotiated": self.device.negotiated,
            "active": self.device.active,
            "queues": [queue.save() for queue in self.device.queues],
            "device": self.device.save(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """What :meth:`save` gave. Raises RingError for queues that cannot be."""
        self._status, self._interrupts = state["status"], state["interrupts"]
        self._features_page, self._driver_page, self._selected, self._generation = state["pages"]
        self.device.negotiated = state["negotiated"]
        for queue, saved in zip(self.device.queues, state["queues"], strict=True):
            queue.restore(saved)
        self.device.restore(state["device"])
        self.device.active = state["active"]


_ADDRESSES = {
    0x80: ("descriptors", 0),
    0x84: ("descriptors", 32),
    0x90: ("available", 0),
    0x94: ("available", 32),
    0xA0: ("used", 0),
    0xA4: ("used", 32),
}
