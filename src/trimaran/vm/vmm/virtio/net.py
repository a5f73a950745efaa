"""A network interface (virtio 1.2, section 5.1) on a TAP device.

Packets go straight to and from the guest's buffers.
"""

from __future__ import annotations

import fcntl
import os
import struct

from trimaran.vm.vmm.events import Events
from trimaran.vm.vmm.memory import GuestMemory
from trimaran.vm.vmm.virtio.device import VERSION_1, Device
from trimaran.vm.vmm.virtio.queue import RingError

_CSUM, _GUEST_CSUM, _MAC = 1 << 0, 1 << 1, 1 << 5
_GUEST_TSO4, _GUEST_TSO6, _HOST_TSO4, _HOST_TSO6 = 1 << 7, 1 << 8, 1 << 11, 1 << 12
_TUNSETOFFLOAD = 0x400454D0
_TUN_F_CSUM, _TUN_F_TSO4, _TUN_F_TSO6 = 1, 2, 4
_RX, _TX = 0, 1
_HEADER = 12
_MAX_PACKET = 65536 + _HEADER
# Packets a turn, so that a flood leaves the other devices their share of the thread.
_BATCH = 64


class Net(Device):
    """One interface. The TAP has IFF_VNET_HDR and a header of 12 bytes; its descriptor is taken over."""

    kind = 1
    queue_count = 2
    features = VERSION_1 | _CSUM | _GUEST_CSUM | _MAC | _GUEST_TSO4 | _GUEST_TSO6 | _HOST_TSO4 | _HOST_TSO6

    def __init__(self, memory: GuestMemory, tap: int, mac: bytes) -> None:
        super().__init__(memory)
        self._tap = tap
        self._mac = mac
        self._events: Events | None = None
        self._watching = False
        os.set_blocking(tap, False)
        self.metrics = {"received": 0, "sent": 0, "received_bytes": 0, "sent_bytes": 0, "dropped": 0}

    def config(self) -> bytes:
        """mac, status, max_virtqueue_pairs, mtu."""
        return self._mac + struct.pack("<HHH", 1, 1, 0)

    def attach(self, events: Events) -> None:
        """See :class:`Device`."""
        self._events = events

    def activated(self) -> None:
        """Take from the TAP what the driver can take."""
        offload = 0
        if self.negotiated & _GUEST_CSUM:
            offload = _TUN_F_CSUM
            offload |= _TUN_F_TSO4 if self.negotiated & _GUEST_TSO4 else 0
            offload |= _TUN_F_TSO6 if self.negotiated & _GUEST_TSO6 else 0
        fcntl.ioctl(self._tap, _TUNSETOFFLOAD, offload)
        self._watch(True)

    def reset(self) -> None:
        """See :class:`Device`."""
        self._watch(False)

    def _watch(self, wanted: bool) -> None:
        events = self._events
        if events is None or wanted == self._watching:
            return
        self._watching = wanted
        if wanted:
            events.call(lambda: events.watch(self._tap, self._readable))
        else:
            events.call(lambda: events.unwatch(self._tap))

    def _readable(self, _: int) -> None:
        if self.transport is not None:
            self.transport.guard(self._receive)

    def _receive(self) -> None:
        """Move packets into the driver's buffers; without a buffer they wait in the TAP."""
        queue = self.queues[_RX]
        done = False
        for _ in range(_BATCH):
            chain = queue.pop()
            if chain is None:
                self._watch(False)
                break
            if not chain.writable or len(chain.writable[0]) < _HEADER:
                raise RingError("a buffer without room for a packet's header")
            try:
                count = os.readv(self._tap, chain.writable)
            except BlockingIOError:
                queue.undo_pop()
                break
            except OSError:  # the TAP was taken down: it is watched again when the driver adds buffers
                queue.undo_pop()
                self._watch(False)
                break
            chain.writable[0][10:12] = b"\1\0"  # num_buffers
            queue.push(chain, count)
            self.metrics["received"] += 1
            self.metrics["received_bytes"] += count
            done = True
        if done:
            self.interrupt(queue)

    def notified(self, queue: int) -> None:
        """See :class:`Device`."""
        if queue == _RX:
            self._watch(True)
        else:
            self._send()

    def _send(self) -> None:
        queue = self.queues[_TX]
        done = False
        for _ in range(queue.size):
            chain = queue.pop()
            if chain is None:
                break
            self._transmit(chain.readable, chain.read_size)
            queue.push(chain, 0)
            done = True
        if done:
            self.interrupt(queue)

    def _transmit(self, parts: list[memoryview], size: int) -> None:
        if not _HEADER < size <= _MAX_PACKET:
            self.metrics["dropped"] += 1
            return
        try:
            os.writev(self._tap, parts)
        except OSError:  # a header that makes no sense, or no room: packets may be lost
            self.metrics["dropped"] += 1
            return
        self.metrics["sent"] += 1
        self.metrics["sent_bytes"] += size

    def restore(self, state: dict[str, object]) -> None:
        """See :class:`Device`."""
        if self.negotiated:
            self.activated()

    def close(self) -> None:
        """See :class:`Device`."""
        os.close(self._tap)
