"""The line discipline of a terminal: typing becomes lines and signals, printing gets its CRs (termios(3))."""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

IGNBRK, ISTRIP, INLCR, IGNCR, ICRNL, IUCLC, IXON, IXANY, IXOFF, IUTF8 = (
    *(0x1, 0x20, 0x40, 0x80, 0x100, 0x200, 0x400, 0x800, 0x1000, 0x4000),
)
OPOST, ONLCR, OCRNL, ONOCR, ONLRET = 1, 4, 8, 0x10, 0x20
ISIG, ICANON, ECHO, ECHOE, ECHOK, ECHONL, NOFLSH, TOSTOP = 1, 2, 8, 0x10, 0x20, 0x40, 0x80, 0x100
ECHOCTL, ECHOKE, IEXTEN = 0x200, 0x800, 0x8000
VINTR, VQUIT, VERASE, VKILL, VEOF, VTIME, VMIN, VSWTC, VSTART, VSTOP, VSUSP = range(11)
VEOL, VREPRINT, VDISCARD, VWERASE, VLNEXT, VEOL2 = range(11, 17)
SIGINT, SIGQUIT, SIGTSTP = 2, 3, 20
TERMIOS = struct.Struct("=IIIIB19s")
B38400_CS8_CREAD = 0xBF
DEFAULT_CC = bytes([3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0, 0, 0])
LINE_LIMIT = 4095


class Discipline:
    """Input goes through :meth:`receive`, output through :meth:`cook`.

    ``lines`` holds what a reader may take: whole lines (b"" is an end of file) in canonical mode.
    ``output`` sends to the other side, ``interrupt`` signals the foreground.
    """

    def __init__(self, output: Callable[[bytes], None], interrupt: Callable[[int], None]) -> None:
        self.iflag = ICRNL | IXON | IUTF8
        self.oflag = OPOST | ONLCR
        self.cflag = B38400_CS8_CREAD
        self.lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN
        self.line = 0
        self.cc = DEFAULT_CC
        self.editing = bytearray()
        self.lines: list[bytes] = []
        self.literal = False
        self.stopped = False
        self.output = output
        self.interrupt = interrupt

    def pack(self) -> bytes:
        return TERMIOS.pack(self.iflag, self.oflag, self.cflag, self.lflag, self.line, self.cc)

    def unpack(self, data: bytes) -> None:
        """Take new settings; what was typed so far becomes readable when lines are given up."""
        was = self.lflag & ICANON
        self.iflag, self.oflag, self.cflag, self.lflag, self.line, self.cc = TERMIOS.unpack(data)
        if was and not self.lflag & ICANON:
            if self.editing:
                self.lines.append(bytes(self.editing))
                self.editing.clear()
            self.lines = [line for line in self.lines if line]

    @property
    def canonical(self) -> bool:
        return bool(self.lflag & ICANON)

    def readable(self) -> int:
        """How many bytes a reader would find."""
        return sum(map(len, self.lines))

    def ready(self) -> bool:
        if self.canonical:
            return bool(self.lines)
        return self.readable() >= max(1, self.cc[VMIN] if not self.cc[VTIME] else 1)

    def take(self, size: int) -> bytes:
        """One line, or what there is; at most SIZE bytes."""
        if not self.lines:
            return b""
        if self.canonical:
            line = self.lines.pop(0)
            if len(line) > size:
                self.lines.insert(0, line[size:])
            return line[:size]
        data = b"".join(self.lines)
        self.lines = [data[size:]] if len(data) > size else []
        return data[:size]

    def flush_input(self) -> None:
        self.lines.clear()
        self.editing.clear()

    def receive(self, data: bytes) -> None:
        """What was typed."""
        if not self.lflag & (ISIG | ICANON | ECHO) and not self.iflag & (
            ICRNL | INLCR | IGNCR | ISTRIP | IXON
        ):
            self.lines.append(data)
            return
        for byte in data:
            self._character(byte)

    def _character(self, byte: int) -> None:
        if self.iflag & ISTRIP:
            byte &= 0x7F
        if self.literal:
            self.literal = False
            self._store(byte)
            return
        if byte == 13:
            if self.iflag & IGNCR:
                return
            if self.iflag & ICRNL:
                byte = 10
        elif byte == 10 and self.iflag & INLCR:
            byte = 13
        if self.iflag & IXON and byte and byte in (self.cc[VSTART], self.cc[VSTOP]):
            self.stopped = byte == self.cc[VSTOP]
            return
        if self.lflag & ISIG and byte and self._signal(byte):
            return
        if self.canonical and self._edit(byte):
            return
        self._store(byte)

    def _signal(self, byte: int) -> bool:
        for index, number in ((VINTR, SIGINT), (VQUIT, SIGQUIT), (VSUSP, SIGTSTP)):
            if byte == self.cc[index]:
                if self.lflag & ECHO:
                    self._echo(byte)
                if not self.lflag & NOFLSH:
                    self.flush_input()
                self.interrupt(number)
                return True
        return False

    def _edit(self, byte: int) -> bool:
        cc = self.cc
        if byte and byte == cc[VERASE]:
            self._erase(1)
        elif byte and byte == cc[VKILL]:
            self._erase(len(self.editing))
        elif byte and byte == cc[VWERASE] and self.lflag & IEXTEN:
            stripped = self.editing.rstrip(b" \t")
            word = len(stripped.rsplit(b" ", 1)[-1])
            self._erase(len(self.editing) - len(stripped) + word)
        elif byte and byte == cc[VLNEXT] and self.lflag & IEXTEN:
            self.literal = True
        elif byte and byte == cc[VEOF]:
            self.lines.append(bytes(self.editing))
            self.editing.clear()
        elif byte == 10 or (byte and byte in (cc[VEOL], cc[VEOL2])):
            self.editing.append(byte)
            if self.lflag & ECHO or (self.lflag & ECHONL and byte == 10):
                self.output(self.cook(bytes([byte])))
            self.lines.append(bytes(self.editing))
            self.editing.clear()
        else:
            return False
        return True

    def _erase(self, count: int) -> None:
        for _ in range(count):
            if not self.editing:
                return
            removed = self.editing.pop()
            while self.iflag & IUTF8 and removed & 0xC0 == 0x80 and self.editing:
                removed = self.editing.pop()
            if self.lflag & ECHO and self.lflag & ECHOE:
                width = 2 if removed < 32 and self.lflag & ECHOCTL and removed != 9 else 1
                self.output(b"\b \b" * width)

    def _store(self, byte: int) -> None:
        if self.lflag & ECHO:
            self._echo(byte)
        if self.canonical:
            if len(self.editing) < LINE_LIMIT:
                self.editing.append(byte)
        else:
            self.lines.append(bytes([byte]))

    def _echo(self, byte: int) -> None:
        if self.lflag & ECHOCTL and (byte < 32 or byte == 127) and byte not in (9, 10):
            self.output(b"^" + bytes([byte ^ 64]))
        else:
            self.output(self.cook(bytes([byte])))

    def cook(self, data: bytes) -> bytes:
        """Output as the terminal gets it."""
        if not self.oflag & OPOST:
            return data
        if self.oflag & OCRNL:
            data = data.replace(b"\r", b"\n")
        if self.oflag & ONLCR:
            data = data.replace(b"\n", b"\r\n")
        return data
