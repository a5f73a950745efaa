"""A memory balloon (virtio 1.2, section 5.5), with reports of free pages: what the guest gives goes back."""

from __future__ import annotations

import struct
from typing import Any

from trimaran.vm.vmm.memory import GuestFault, GuestMemory
from trimaran.vm.vmm.virtio.device import VERSION_1, Device
from trimaran.vm.vmm.virtio.queue import RingError

_DEFLATE_ON_OOM, _REPORTING = 1 << 2, 1 << 5
_INFLATE, _REPORTS = 0, 2
_PAGE = 4096
_PFNS = 256


class Balloon(Device):
    """The balloon. ``target`` pages are wanted in it, ``actual`` are, by the guest's word."""

    kind = 5

    features = VERSION_1 | _DEFLATE_ON_OOM | _REPORTING
    queue_count = 3

    def __init__(self, memory: GuestMemory) -> None:
        super().__init__(memory)
        self.target = 0
        self.actual = 0
        self.reported = 0

    def config(self) -> bytes:
        """num_pages, actual."""
        return struct.pack("<II", self.target, self.actual)

    def write_config(self, offset: int, data: bytes) -> None:
        """The driver says how many pages are in the balloon."""
        if offset == 4 and len(data) == 4:
            self.actual = int.from_bytes(data, "little")

    def resize(self, mebibytes: int) -> None:
        """Ask the guest for that much memory in all."""
        with self.lock:
            self.target = (mebibytes << 20) // _PAGE
        if self.transport is not None:
            self.transport.interrupt_config()

    def notified(self, queue: int) -> None:
        """See :class:`Device`."""
        requests = self.queues[queue]
        served = False
        for _ in range(requests.size):
            chain = requests.pop()
            if chain is None:
                break
            if queue == _INFLATE:
                self._inflate(chain.copy(4 * _PFNS))
            elif queue == _REPORTS:
                self._report(chain.writable)
            requests.push(chain, 0)
            served = True
        if served:
            self.interrupt(requests)

    def _inflate(self, data: bytes) -> None:
        for (frame,) in struct.iter_unpack("<I", data[: len(data) // 4 * 4]):
            try:
                self.memory.discard(frame * _PAGE, _PAGE)
            except GuestFault as error:
                raise RingError(str(error)) from None

    def _report(self, parts: list[memoryview]) -> None:
        """Free pages: their content does not matter until the guest uses them again."""
        for region in self.memory.regions:
            for part in parts:
                offset = _offset_within(region.view, part)
                if offset is not None and offset % _PAGE == 0 and len(part) % _PAGE == 0:
                    region.mapping.madvise(4, offset, len(part))
                    self.reported += len(part)

    def save(self) -> dict[str, Any]:
        """See :class:`Device`."""
        return {"target": self.target, "actual": self.actual}

    def restore(self, state: dict[str, Any]) -> None:
        """See :class:`Device`."""
        self.target, self.actual = state["target"], state["actual"]


def _offset_within(whole: memoryview, part: memoryview) -> int | None:
    from trimaran.linux import _sys

    offset = _sys.buffer_address(part) - _sys.buffer_address(whole)
    return offset if 0 <= offset <= len(whole) - len(part) else None
