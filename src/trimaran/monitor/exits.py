"""What a monitor leaves in its state directory: the exit record, and its own identity."""

from __future__ import annotations

import os

from trimaran.errors import TrimaranError


class Exit:
    """How a process ended. ``code`` is 0 to 255 (128 + n for signal n), ``time`` in ns since the epoch."""

    __slots__ = ("code", "oom", "signal", "time")

    def __init__(self, code: int, signal: int = 0, oom: bool = False, time: int = 0) -> None:
        self.code = code
        self.signal = signal
        self.oom = oom
        self.time = time

    def __repr__(self) -> str:
        return f"Exit(code={self.code}, signal={self.signal}, oom={self.oom}, time={self.time})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Exit) and repr(self) == repr(other)

    __hash__ = None  # type: ignore[assignment]


def parse_event(words: list[str]) -> Exit:
    """The exit in the packet ``exited CODE [oom] [signal N]``, split at spaces."""
    signal = int(words[words.index("signal") + 1]) if "signal" in words else 0
    return Exit(int(words[1]), signal, "oom" in words)


def read_exit(state: str) -> Exit | None:
    """The exit record in a state directory; None while there is none.

    Raises :class:`TrimaranError` for a record that no monitor has written.
    """
    try:
        with open(os.path.join(state, "exit"), "rb") as file:
            text = file.read(256)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        code, signal, oom, moment = text.decode("ascii").split()
        seconds, nanoseconds = moment.split(".")
        return Exit(int(code), int(signal), oom != "0", int(seconds) * 1_000_000_000 + int(nanoseconds))
    except ValueError as error:
        raise TrimaranError(f"the exit record in {state} cannot be read", why=repr(text)) from error


def monitor_alive(state: str) -> int:
    """The PID of the monitor that serves a state directory; 0 if it no longer runs (or never did)."""
    try:
        with open(os.path.join(state, "monitor.pid"), "rb") as file:
            pid, started = file.read(64).split()
        with open(b"/proc/%s/stat" % pid, "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError, NotADirectoryError, ValueError):
        return 0
    return int(pid) if fields[19] == started and fields[0] not in b"ZX" else 0
