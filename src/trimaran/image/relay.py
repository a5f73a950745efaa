"""Two threads at one stream: one reads (network, decompression), one consumes (diff ID, unpacking)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

from trimaran.image.decompress import Reader

BUFFER_BYTES = 1 << 20
BUFFERS = 4


class Relay:
    """Hands a ring of buffers back and forth. An error on either side ends both."""

    def __init__(self, consume: Callable[[memoryview], None]) -> None:
        self._consume = consume
        self._free: SimpleQueue[memoryview] = SimpleQueue()
        self._filled: SimpleQueue[tuple[memoryview, int]] = SimpleQueue()
        self._error: BaseException | None = None
        for _ in range(BUFFERS):
            self._free.put(memoryview(bytearray(BUFFER_BYTES)))

    def run(self, reader: Reader) -> None:
        """Read to the end and consume everything. Raises what either side raises."""
        thread = threading.Thread(target=self._work, name="trimaran-unpack", daemon=True)
        thread.start()
        try:
            while self._error is None:
                buffer = self._free.get()
                size = _fill(reader, buffer)
                if not size:
                    break
                self._filled.put((buffer, size))
        finally:
            self._filled.put((memoryview(b""), 0))
            thread.join()
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while True:
            buffer, size = self._filled.get()
            if not size:
                return
            if self._error is None:
                try:
                    self._consume(buffer[:size])
                except BaseException as error:  # noqa: BLE001 - raised again by run, in its thread
                    self._error = error
            self._free.put(buffer)


def _fill(reader: Reader, buffer: memoryview) -> int:
    """Read until the buffer is full or the stream ends: few large hand-overs cost less than many small."""
    size = 0
    while size < len(buffer) and (got := reader.readinto(buffer[size:])):
        size += got
    return size
