"""Reading and following the logs that monitors write, in both formats (docs/internals/monitor.md).

A record's data is the bytes as the process wrote them: a line with its end, or a part of a line.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

BLOCK = 64 * 1024
MAX_RECORD = 1 << 20
_FOLLOW_FIRST, _FOLLOW_MOST = 0.01, 0.1
_LOOKS = 20


class Record:
    """One record. ``time`` is RFC 3339 in UTC with nine digits, so that texts compare as times do."""

    __slots__ = ("data", "stream", "time")

    def __init__(self, time: str, stream: str, data: bytes) -> None:
        self.time = time
        self.stream = stream
        self.data = data

    @property
    def ends_line(self) -> bool:
        """Whether the line is complete with this record."""
        return self.data.endswith(b"\n")


def stamp(nanoseconds: int) -> str:
    """A time since the epoch as records have it."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"


def parse_cri(line: bytes) -> Record | None:
    """``TIME STREAM TAG TEXT``, without its line end; None for what no monitor has written."""
    parts = line.split(b" ", 3)
    if len(parts) != 4:
        return None
    moment, stream, tag, text = parts
    data = text + b"\n" if tag.startswith(b"F") else text
    return Record(moment.decode("ascii", "replace"), stream.decode("ascii", "replace"), data)


def parse_json(line: bytes) -> Record | None:
    """Docker's record; lone surrogates stand for bytes that are not UTF-8."""
    import json

    try:
        entry = json.loads(line)
        data = entry["log"].encode("utf-8", "surrogateescape")
        return Record(str(entry["time"]), str(entry["stream"]), data)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


class LogReader:
    """The log at ``target``: ``cri:PATH`` or ``json:PATH``."""

    def __init__(self, target: str) -> None:
        kind, _, self.path = target.partition(":")
        self._parse = parse_json if kind == "json" else parse_cri
        self._line_end = b'\\n","stream"' if kind == "json" else b" F "

    def records(
        self,
        *,
        since: str = "",
        until: str = "",
        tail: int | None = None,
        alive: Callable[[], bool] | None = None,
    ) -> Iterator[Record]:
        """Records in order; with ``alive``, go on waiting for more until it returns False.

        ``since`` and ``until`` are times as of :func:`stamp`; ``tail`` begins so many lines before the end.
        """
        for line in self._lines(tail, alive):
            record = self._parse(line)
            if record is None or record.time < since:
                continue
            if until and record.time > until:
                return
            yield record

    def files(self) -> list[str]:
        """The files there are, the oldest first."""
        directory, name = os.path.split(self.path)
        numbers = [0]
        for entry in os.listdir(directory or "."):
            number = entry.removeprefix(f"{name}.")
            if number != entry and number.isdigit():
                numbers.append(int(number))
        return [f"{self.path}.{n}" if n else self.path for n in sorted(numbers, reverse=True)]

    def _lines(self, tail: int | None, alive: Callable[[], bool] | None) -> Iterator[bytes]:
        start = self._start(tail)
        if start is None:
            return
        file, offset = start
        file.seek(offset)
        while True:
            with file:
                yield from self._follow(file, alive)
                following = self._next(file)
            if following is None:
                return
            file = following

    def _start(self, tail: int | None) -> tuple[BinaryIO, int] | None:
        """Where to begin: the oldest file, or so many lines before the end."""
        found = None
        for path in self.files() if tail is None else self.files()[::-1]:
            file = _open(path)
            if file is None:
                continue
            if tail is None:
                return file, 0
            if found:
                found[0].close()
            offset, tail = self._back(file, tail)
            found = file, offset
            if tail <= 0:
                break
        return found

    def _back(self, file: BinaryIO, lines: int) -> tuple[int, int]:
        """The offset ``lines`` complete lines before the end; how many lines were missing."""
        at = file.seek(0, os.SEEK_END)
        if lines <= 0:
            return at, 0
        rest = b""
        while at > 0:
            step = min(BLOCK, at)
            at -= step
            file.seek(at)
            *records, cut = (file.read(step) + rest).split(b"\n")
            # Without a line end: of the newest record, which is still being written, or read next time.
            position = at + sum(map(len, records)) + len(records)
            whole = records if at == 0 else records[1:]
            for record in reversed(whole):
                if self._ends_line(record) and (lines := lines - 1) < 0:
                    return position, 0
                position -= len(record) + 1
            rest = records[0] + b"\n" if records else cut
        return 0, lines

    def _ends_line(self, record: bytes) -> bool:
        return self._line_end in record if self._line_end != b" F " else record.split(b" ", 3)[2:3] == [b"F"]

    def _follow(self, file: BinaryIO, alive: Callable[[], bool] | None) -> Iterator[bytes]:
        """The complete lines of one file; returns when there will be no more in it."""
        pause = _FOLLOW_FIRST
        while True:
            # The order matters: what is asked last must have been true before the file was read to its end.
            done = alive is None or self._turned_over(file) or not alive()
            got = False
            while (line := file.readline(MAX_RECORD)).endswith(b"\n"):
                got = True
                yield line[:-1]
            file.seek(-len(line), os.SEEK_CUR)
            if done:
                return
            pause = _FOLLOW_FIRST if got else min(pause * 2, _FOLLOW_MOST)
            time.sleep(pause)

    def _turned_over(self, file: BinaryIO) -> bool:
        try:
            return os.stat(self.path).st_ino != os.fstat(file.fileno()).st_ino
        except FileNotFoundError:
            return False

    def _next(self, file: BinaryIO) -> BinaryIO | None:
        """The file that came after this one; None if this is the present one."""
        inode = os.fstat(file.fileno()).st_ino
        for _ in range(_LOOKS):
            opened = self._open_all()
            inodes = [os.fstat(one.fileno()).st_ino for one in opened]
            if inode in inodes:
                break
            # It may be between two names. If it is not, it was read too slowly: then the oldest there is.
            time.sleep(_FOLLOW_FIRST)
        at = inodes.index(inode) + 1 if inode in inodes else 0
        following = opened[at] if at < len(opened) else None
        for one in opened:
            if one is not following:
                one.close()
        return following

    def _open_all(self) -> list[BinaryIO]:
        """All files, the oldest first, at one moment: not while their names are being moved on."""
        while True:
            before = self._inodes()
            opened = [one for path in self.files() if (one := _open(path))]
            if before == self._inodes() == [os.fstat(one.fileno()).st_ino for one in opened]:
                return opened
            for one in opened:
                one.close()

    def _inodes(self) -> list[int]:
        found = []
        for path in self.files():
            try:
                found.append(os.stat(path).st_ino)
            except FileNotFoundError:
                continue
        return found


def _open(path: str) -> BinaryIO | None:
    """Open a log file, and hold it: the monitor removes no file that a reader has not finished."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    fcntl.flock(fd, fcntl.LOCK_SH)
    return open(fd, "rb", BLOCK)
