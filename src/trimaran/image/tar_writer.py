"""Writing tar streams: ustar headers, with PAX records for what does not fit (pax(1)).

The same tree gives the same bytes: no user names, no times but the files' own.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import Protocol

BLOCK = 512
_TYPES = {
    stat.S_IFREG: b"0",
    stat.S_IFLNK: b"2",
    stat.S_IFCHR: b"3",
    stat.S_IFBLK: b"4",
    stat.S_IFDIR: b"5",
    stat.S_IFIFO: b"6",
}
HARD_LINK = b"1"
_EXTENDED = b"x"
_CHUNK = 1 << 20


class Output(Protocol):
    """Where a stream goes, such as a binary file."""

    def write(self, data: bytes, /) -> object:
        """Take all of it."""


class TarWriter:
    """Writes members one by one. Raises what the output raises, and OSError for files that cannot be read."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def add(
        self,
        path: bytes,
        status: os.stat_result,
        *,
        link: bytes = b"",
        xattrs: Mapping[str, bytes] | None = None,
        content: int = -1,
    ) -> None:
        """A member like STATUS. A regular file's content is read from the descriptor CONTENT."""
        kind = stat.S_IFMT(status.st_mode)
        size = status.st_size if kind == stat.S_IFREG else 0
        device = status.st_rdev if kind in (stat.S_IFCHR, stat.S_IFBLK) else 0
        name = path + b"/" if kind == stat.S_IFDIR else path
        self._header(name, _TYPES[kind], status, size, link, device, xattrs or {})
        if kind == stat.S_IFREG:
            self._copy(content, size, path)

    def add_link(self, path: bytes, status: os.stat_result, target: bytes) -> None:
        """A hard link to a member that has been added."""
        self._header(path, HARD_LINK, status, 0, target, 0, {})

    def add_empty(self, path: bytes) -> None:
        """An empty file that means something by its name: a whiteout."""
        self._output.write(_ustar(path, b"0", 0o600, 0, 0, 0, 0, b"", 0))

    def finish(self) -> None:
        """The two zero blocks that end an archive."""
        self._output.write(bytes(2 * BLOCK))

    def _header(
        self,
        path: bytes,
        kind: bytes,
        status: os.stat_result,
        size: int,
        link: bytes,
        device: int,
        xattrs: Mapping[str, bytes],
    ) -> None:
        seconds, nanoseconds = divmod(status.st_mtime_ns, 10**9)
        records = {f"SCHILY.xattr.{name}".encode(): value for name, value in sorted(xattrs.items())}
        _note(records, b"path", path, len(path) > 100)
        _note(records, b"linkpath", link, len(link) > 100)
        _note(records, b"size", b"%d" % size, size >= 8**11)
        _note(records, b"uid", b"%d" % status.st_uid, status.st_uid >= 8**7)
        _note(records, b"gid", b"%d" % status.st_gid, status.st_gid >= 8**7)
        _note(records, b"mtime", _time(status.st_mtime_ns), nanoseconds != 0 or not 0 <= seconds < 8**11)
        if records:
            body = b"".join(_record(key, value) for key, value in records.items())
            self._output.write(_ustar(b"@PaxHeader", _EXTENDED, 0o644, 0, 0, len(body), 0, b"", 0))
            self._output.write(body + bytes(-len(body) % BLOCK))
        mode = stat.S_IMODE(status.st_mode)
        numbers = status.st_uid % 8**7, status.st_gid % 8**7, size % 8**11, max(0, seconds) % 8**11
        self._output.write(_ustar(path[:100], kind, mode, *numbers, link[:100], device))

    def _copy(self, fd: int, size: int, path: bytes) -> None:
        left = size
        while left:
            data = os.read(fd, min(left, _CHUNK))
            if not data:
                raise OSError(f"{os.fsdecode(path)} became shorter while it was being read")
            self._output.write(data)
            left -= len(data)
        if size % BLOCK:
            self._output.write(bytes(-size % BLOCK))


def _note(records: dict[bytes, bytes], key: bytes, value: bytes, needed: bool) -> None:
    if needed:
        records[key] = value


def _time(nanoseconds: int) -> bytes:
    """Seconds with a fraction, as PAX has it."""
    return b"%s%d.%09d" % (b"-" if nanoseconds < 0 else b"", *divmod(abs(nanoseconds), 10**9))


def _record(key: bytes, value: bytes) -> bytes:
    """One PAX record; its length counts itself."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) != len(str(rest)):
        length += 1
    return b"%d %s=%s\n" % (length, key, value)


def _ustar(
    path: bytes, kind: bytes, mode: int, uid: int, gid: int, size: int, mtime: int, link: bytes, device: int
) -> bytes:
    numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, uid, gid, size, mtime)
    names = b"%s%s%s" % (kind, link.ljust(100, b"\0"), b"ustar\x0000" + bytes(64))
    devices = b"%07o\0%07o\0" % (os.major(device), os.minor(device))
    head, tail = path.ljust(100, b"\0") + numbers, (names + devices).ljust(BLOCK - 156, b"\0")
    checksum = sum(head) + sum(tail) + 8 * ord(" ")
    return head + b"%06o\0 " % checksum + tail
