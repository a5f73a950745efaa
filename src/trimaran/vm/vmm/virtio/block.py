"""A disk (virtio 1.2, section 5.2) in a file or block device of the host. Data goes straight to the guest."""

from __future__ import annotations

import os
import struct
import time
from typing import Any

from trimaran.errors import KernelError
from trimaran.linux import _sys
from trimaran.vm.vmm.events import Events
from trimaran.vm.vmm.memory import GuestMemory
from trimaran.vm.vmm.virtio.device import VERSION_1, Device
from trimaran.vm.vmm.virtio.queue import Chain

_SEG_MAX, _RO, _FLUSH, _DISCARD, _WRITE_ZEROES = 1 << 2, 1 << 5, 1 << 9, 1 << 13, 1 << 14
_IN, _OUT, _FLUSH_CMD, _GET_ID, _DISCARD_CMD, _ZEROES_CMD = 0, 1, 4, 8, 11, 13
_OK, _IOERR, _UNSUPPORTED = 0, 1, 2
_REQUEST = struct.Struct("<IIQ")
_RANGE = struct.Struct("<QII")
_SECTOR = 512
_ID_SIZE = 20
_MAX_SEGMENTS = 254
_MAX_RANGE = 1 << 22
_KEEP_SIZE, _PUNCH_HOLE, _ZERO_RANGE = 1, 2, 16


class Limiter:
    """A token bucket: ``rate`` a second on average, ``burst`` at once; 0 for no limit."""

    def __init__(self, rate: float = 0, burst: float = 0) -> None:
        self.rate = rate
        self.burst = burst or rate
        self._tokens = self.burst
        self._last = time.monotonic()

    def delay(self, cost: float) -> float:
        """Seconds to wait before something of that cost."""
        if not self.rate:
            return 0
        now = time.monotonic()
        self._tokens = min(self.burst, self._tokens + (now - self._last) * self.rate)
        self._last = now
        # What costs more than a burst goes when the bucket is full, and leaves a debt.
        return max(0, min(cost, self.burst) - self._tokens) / self.rate

    def count(self, cost: float) -> None:
        """Something of that cost is done."""
        self._tokens -= cost


class Block(Device):
    """One disk. Read-only is a property of the descriptor: the guest's driver has no say in it."""

    kind = 2

    def __init__(
        self,
        memory: GuestMemory,
        path: str,
        *,
        read_only: bool,
        serial: str,
        bytes_limit: Limiter | None = None,
        operations_limit: Limiter | None = None,
    ) -> None:
        self._fd = _open(path, read_only)
        super().__init__(memory)
        self.path = path
        self.read_only = read_only
        self._serial = serial.encode()[:_ID_SIZE]
        self._sectors = os.lseek(self._fd, 0, os.SEEK_END) // _SECTOR
        self.features = VERSION_1 | _SEG_MAX | _FLUSH | (_RO if read_only else _DISCARD | _WRITE_ZEROES)
        self._bytes_limit = bytes_limit or Limiter()
        self._operations_limit = operations_limit or Limiter()
        self._events: Events | None = None
        self._waiting = False
        self.metrics = {
            "reads": 0,
            "writes": 0,
            "read_bytes": 0,
            "written_bytes": 0,
            "failures": 0,
            "throttled": 0,
        }

    def attach(self, events: Events) -> None:
        """See :class:`Device`."""
        self._events = events

    def config(self) -> bytes:
        """capacity, seg_max, and the limits of discard and write_zeroes."""
        space = bytearray(60)
        struct.pack_into("<Q", space, 0, self._sectors)
        struct.pack_into("<I", space, 12, _MAX_SEGMENTS)
        struct.pack_into("<IIIIIB", space, 36, _MAX_RANGE, 1, 8, _MAX_RANGE, 1, 1)
        return bytes(space)

    def replace(self, path: str) -> None:
        """Another file behind the same disk; the driver is told of its size. Raises KernelError."""
        fd = _open(path, self.read_only)
        with self.lock:
            os.close(self._fd)
            self._fd = fd
            self.path = path
            self._sectors = os.lseek(fd, 0, os.SEEK_END) // _SECTOR
        if self.transport is not None:
            self.transport.interrupt_config()

    def notified(self, queue: int) -> None:
        """Serve what is there, as far as the limits allow."""
        requests = self.queues[0]
        served = False
        # What the guest adds meanwhile it notifies of: one turn is bounded.
        for _ in range(requests.size):
            chain = requests.pop()
            if chain is None:
                break
            wait = self._throttle(chain)
            if wait:
                requests.undo_pop()
                break
            requests.push(chain, self._serve(chain))
            served = True
        if served:
            self.interrupt(requests)

    def _throttle(self, chain: Chain) -> float:
        size = chain.read_size + chain.write_size
        wait = max(self._bytes_limit.delay(size), self._operations_limit.delay(1))
        if not wait:
            self._bytes_limit.count(size)
            self._operations_limit.count(1)
        elif self._events is not None and not self._waiting:
            # One timer, however often the guest notifies.
            self._waiting = True
            self.metrics["throttled"] += 1
            self._events.later(wait, self._go_on)
        return wait

    def _go_on(self) -> None:
        self._waiting = False
        if self.transport is not None:
            self.transport.notify(0)

    def _serve(self, chain: Chain) -> int:
        """Do one request; returns the bytes written to the guest."""
        if not chain.writable or len(chain.writable[-1]) < 1 or chain.read_size < _REQUEST.size:
            return 0
        kind, _, sector = _REQUEST.unpack(chain.copy(_REQUEST.size))
        status = chain.writable[-1][-1:]
        into = [*chain.writable[:-1], chain.writable[-1][:-1]]
        try:
            code, written = self._execute(kind, sector, _after(chain.readable, _REQUEST.size), into)
        except OSError:
            code, written = _IOERR, 0
        if code:
            self.metrics["failures"] += 1
        status[0] = code
        return written + 1

    def _execute(
        self, kind: int, sector: int, given: list[memoryview], into: list[memoryview]
    ) -> tuple[int, int]:
        if kind == _IN:
            size = sum(map(len, into))
            self._check(sector, size)
            self.metrics["reads"] += 1
            self.metrics["read_bytes"] += size
            return (_OK if os.preadv(self._fd, into, sector * _SECTOR) == size else _IOERR), size
        if kind == _GET_ID:
            data = self._serial.ljust(_ID_SIZE, b"\0")[: len(into[0])]
            into[0][: len(data)] = data
            return _OK, len(data)
        if self.read_only:
            return _IOERR, 0
        if kind == _OUT:
            size = sum(map(len, given))
            self._check(sector, size)
            self.metrics["writes"] += 1
            self.metrics["written_bytes"] += size
            return (_OK if os.pwritev(self._fd, given, sector * _SECTOR) == size else _IOERR), 0
        if kind == _FLUSH_CMD:
            os.fdatasync(self._fd)
            return _OK, 0
        if kind in (_DISCARD_CMD, _ZEROES_CMD):
            return self._clear(kind, b"".join(part[: _RANGE.size] for part in given)[: _RANGE.size]), 0
        return _UNSUPPORTED, 0

    def _check(self, sector: int, size: int) -> None:
        if size % _SECTOR or sector + size // _SECTOR > self._sectors:
            raise OSError("beyond the end of the disk")

    def _clear(self, kind: int, data: bytes) -> int:
        if len(data) != _RANGE.size:
            return _UNSUPPORTED
        sector, count, flags = _RANGE.unpack(data)
        if count > _MAX_RANGE:
            return _UNSUPPORTED
        self._check(sector, count * _SECTOR)
        punch = kind == _DISCARD_CMD or flags & 1
        mode = _KEEP_SIZE | (_PUNCH_HOLE if punch else _ZERO_RANGE)
        _sys.fallocate(self._fd, mode, sector * _SECTOR, count * _SECTOR)
        return _OK

    def close(self) -> None:
        """See :class:`Device`."""
        os.close(self._fd)

    def save(self) -> dict[str, Any]:
        """See :class:`Device`."""
        return {"path": self.path}


def _open(path: str, read_only: bool) -> int:
    try:
        return os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError("open", error.errno or 0, path, message=f"cannot open the disk {path}") from error


def _after(parts: list[memoryview], count: int) -> list[memoryview]:
    """What follows the first COUNT bytes."""
    result = []
    for part in parts:
        skip = min(count, len(part))
        count -= skip
        if skip < len(part):
            result.append(part[skip:])
    return result
