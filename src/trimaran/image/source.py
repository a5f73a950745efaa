"""Where a layer's bytes come from: a registry, going on after interruptions, or the content store."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from trimaran.errors import NotFound
from trimaran.image.content import Ingest
from trimaran.image.http import TRANSIENT, Response
from trimaran.image.manifest import Descriptor
from trimaran.image.progress import PULLING, RETRYING, Progress
from trimaran.image.repository import Repository

READ_BYTES = 1 << 18
# Slower than this for this long is a stall, however regularly a byte drips in.
STALL_SECONDS = 60.0
STALL_BYTES = 4096
# An attempt that has brought this much starts the count of failures anew.
WORTHWHILE_BYTES = 1 << 16


class FileSource:
    """A blob that is in the store."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Fill the buffer, perhaps in part; 0 at the end."""
        return self._file.readinto(buffer)  # type: ignore[attr-defined, no-any-return]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class NetworkSource:
    """A blob from the first repository that has it, hashed and written to the ingest as it passes.

    Cuts, stalls and refusals that may pass are waited out; the download goes on where it was, even from
    another run. Raises what the repositories raise.
    """

    def __init__(
        self, repositories: Sequence[Repository], blob: Descriptor, ingest: Ingest, progress: Progress
    ) -> None:
        self._repositories = list(repositories)
        self._blob = blob
        self._ingest = ingest
        self._progress = progress
        self._resumed: Iterator[bytes] = ingest.resume()
        self._chunk = memoryview(b"")
        self._response: Response | None = None
        self._failures = 0
        self._opened_at = 0
        self._window = (0.0, 0)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Fill the buffer, perhaps in part; 0 at the end."""
        if not self._chunk:
            self._chunk = memoryview(next(self._resumed, b"") or self._next())
        size = min(len(buffer), len(self._chunk))
        buffer[:size] = self._chunk[:size]
        self._chunk = self._chunk[size:]
        return size

    def drain(self) -> None:
        """Fetch what the decompressor did not want, so that the digest covers the whole blob."""
        while next(self._resumed, b"") or self._next():
            continue

    def close(self) -> None:
        """Let go of the connection."""
        if self._response:
            self._response.close()
            self._response = None

    def _next(self) -> bytes:
        while self._ingest.offset < self._blob.size:
            try:
                response = self._response or self._open()
                data = response.read_some(READ_BYTES)
                self._check_speed(len(data))
            except TRANSIENT as error:
                self._pause(error)
                continue
            if data:
                self._ingest.write(data)
                self._progress.update(self._blob.digest, PULLING, self._ingest.offset, self._blob.size)
                return data
            self._pause(EOFError("the connection ended early"))
        self.close()
        return b""

    def _open(self) -> Response:
        """Ask for what is missing; where ranges are not served, skip what is here."""
        while True:
            try:
                response, start = self._repositories[0].blob(self._blob.digest, self._ingest.offset)
                break
            except NotFound:
                if len(self._repositories) == 1:
                    raise
                del self._repositories[0]
        self._response = response
        while start < self._ingest.offset:
            skipped = len(response.read_some(min(READ_BYTES, self._ingest.offset - start)))
            if not skipped:
                raise EOFError("the connection ended early")
            start += skipped
        self._opened_at = self._ingest.offset
        self._window = (time.monotonic(), 0)
        return response

    def _check_speed(self, size: int) -> None:
        begun, seen = self._window
        self._window = (begun, seen + size)
        now = time.monotonic()
        if now - begun >= STALL_SECONDS:
            if seen + size < STALL_BYTES:
                raise TimeoutError(f"only {seen + size} bytes in {STALL_SECONDS:.0f} seconds")
            self._window = (now, 0)

    def _pause(self, error: BaseException) -> None:
        self.close()
        if self._ingest.offset - self._opened_at >= WORTHWHILE_BYTES:
            self._failures = 0
        self._failures += 1
        self._opened_at = self._ingest.offset
        session = self._repositories[0].session
        delay = session.retry.delay(self._failures)
        if delay is None:
            raise session.unreachable(error) from error
        self._progress.update(self._blob.digest, RETRYING, self._ingest.offset, self._blob.size)
        session.wait(delay)
