"""Layer streams as uncompressed tar: gzip by ISA-L, zstd (zstd:chunked too: its index is a skippable frame).

Decompression releases the GIL, and holds no more than a window at a time (zstd: at most 128 MB, as the
reference decoder allows).
"""

from __future__ import annotations

import io
from typing import BinaryIO, Protocol, cast

from trimaran.errors import ImageError
from trimaran.image import media

MAX_WINDOW = 1 << 27
# A layer may become this many times larger than its blob, plus a floor for small ones.
MAX_RATIO = 200
MAX_RATIO_FLOOR = 1 << 30


class Source(Protocol):
    """Where compressed bytes come from."""

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Fill a buffer, perhaps in part; 0 at the end."""


class Reader(Protocol):
    """Where uncompressed bytes come from."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill a buffer, perhaps in part; 0 at the end."""


class _Peeked(io.RawIOBase):
    """A source whose first bytes have been looked at."""

    def __init__(self, head: bytes, source: Source) -> None:
        self._head = head
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        if self._head:
            size = min(len(buffer), len(self._head))
            buffer[:size] = self._head[:size]
            self._head = self._head[size:]
            return size
        return self._source.readinto(buffer)


def open_reader(source: Source, media_type: str) -> Reader:
    """A reader of the uncompressed stream. Raises ImageError if the content belies the media type."""
    stated = media.compression(media_type)
    peeked, found = _peek(source)
    if found != stated:
        raise ImageError(
            "a layer's media type lies", why=f"it says {stated} compression, the content has {found}"
        )
    return _reader(peeked, found)


def open_any(source: Source) -> Reader:
    """A reader of the uncompressed stream, of whatever compression it has."""
    return _reader(*_peek(source))


def _peek(source: Source) -> tuple[_Peeked, str]:
    head = bytearray(4)
    size = 0
    while size < 4 and (got := source.readinto(memoryview(head)[size:])):
        size += got
    return _Peeked(bytes(head[:size]), source), media.sniff(bytes(head[:size]))


def _reader(peeked: _Peeked, compression: str) -> Reader:
    if compression == "gzip":
        from isal.igzip import IGzipFile

        members: Reader = IGzipFile(fileobj=peeked, mode="rb")  # type: ignore[no-untyped-call]
        return members
    if compression == "zstd":
        from zstandard import ZstdDecompressor

        decompressor = ZstdDecompressor(max_window_size=MAX_WINDOW)
        frames: Reader = decompressor.stream_reader(
            cast(BinaryIO, peeked), read_size=1 << 18, read_across_frames=True
        )
        return frames
    return peeked


def decompression_errors() -> tuple[type[Exception], ...]:
    """What readers raise for broken content; to be called when something has been raised."""
    import zlib
    from gzip import BadGzipFile

    import zstandard
    from isal.isal_zlib import IsalError

    return (BadGzipFile, EOFError, zlib.error, zstandard.ZstdError, cast(type[Exception], IsalError))


def size_limit(compressed: int, override: int = 0) -> int:
    """How large a layer may become, in bytes, before it counts as a bomb."""
    return override or compressed * MAX_RATIO + MAX_RATIO_FLOOR
