"""Between the user and a process's monitor: input, output, size, signals, detach keys."""

from __future__ import annotations

import os
import select
import sys

from trimaran.errors import InvalidInput, TrimaranError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    from trimaran.monitor.control import Control, Output
else:
    # Without enum, which takes longer to import than a container to start.
    import _signal as signal

CHUNK = 8192
DETACH_KEYS = "ctrl-p,ctrl-q"
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def parse_keys(text: str) -> bytes:
    """``ctrl-p,ctrl-q`` or ``a,b`` as the bytes that a terminal sends. Raises InvalidInput."""
    found = b""
    for key in text.split(",") if text else []:
        name = key.removeprefix("ctrl-")
        if len(name) != 1 or not name.isascii():
            raise InvalidInput(f"'{text}' are no detach keys", hint="such as ctrl-p,ctrl-q")
        found += bytes([ord(name.upper()) & 0x1F]) if key != name else name.encode()
    return found


class Session:
    """One attachment. ``forward`` is called with the signals that this process gets."""

    def __init__(
        self,
        control: Control,
        *,
        stdin: bool,
        tty: bool,
        keys: bytes = b"",
        forward: Callable[[int], None] | None = None,
    ) -> None:
        self._control = control
        self._stdin = stdin
        self._tty = tty and os.isatty(0)
        self._keys = keys if self._tty else b""
        self._typed = 0
        self._forward = forward
        self._saved: list[Any] | None = None
        self.failure: list[str] = []
        self.detached = False

    def run(self) -> int | None:
        """Pass on until the process has ended: its exit code. None if the user left, or the monitor did."""
        self._enter()
        try:
            return self._loop()
        finally:
            self._leave()

    def _enter(self) -> None:
        if self._tty:
            import termios
            import tty

            self._saved = termios.tcgetattr(0)
            tty.setraw(0, termios.TCSANOW)
            signal.signal(signal.SIGWINCH, self._resized)
            self._resized(0, None)
        elif self._forward:
            for number in FORWARDED:
                signal.signal(number, self._signalled)

    def _leave(self) -> None:
        if self._saved is not None:
            import termios

            termios.tcsetattr(0, termios.TCSANOW, self._saved)

    def _resized(self, _number: int, _frame: FrameType | None) -> None:
        size = os.get_terminal_size(0)
        try:
            self._control.resize_soon(size.lines, size.columns)
        except OSError:
            # The monitor has left: the loop is about to see that.
            return

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        try:
            if self._forward:
                self._forward(number)
        except TrimaranError:
            # It has ended already.
            return

    def _loop(self) -> int | None:
        poll = select.poll()
        poll.register(self._control.fileno(), select.POLLIN)
        if self._stdin:
            poll.register(0, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if self._control.fileno() in ready:
                output = self._control.receive()
                if output is None or output.exit is not None:
                    return output.exit.code if output and output.exit else None
                self._show(output)
            elif 0 in ready and not self._input():
                poll.unregister(0)
            if self.detached:
                return None

    def _show(self, output: Output) -> None:
        if output.data:
            fd = 1 if output.kind == "stdout" else 2
            data = memoryview(output.data)
            while data:
                data = data[os.write(fd, data) :]
        elif output.kind == "dropped":
            sys.stderr.write(f"\r\ntrimaran: {output.count} bytes of output were not shown\r\n")
        elif output.kind == "error":
            self.failure = output.words

    def _input(self) -> bool:
        """False at its end."""
        data = os.read(0, CHUNK)
        try:
            if not data:
                self._control.close_input()
                return False
            data = self._without_keys(data)
            if data:
                self._control.send_input(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def _without_keys(self, data: bytes) -> bytes:
        """Hold back what may be the beginning of the detach keys."""
        if not self._keys:
            return data
        out = bytearray()
        for byte in data:
            if byte == self._keys[self._typed]:
                self._typed += 1
                if self._typed == len(self._keys):
                    self.detached = True
                    break
                continue
            out += self._keys[: self._typed]
            self._typed = 1 if byte == self._keys[0] else 0
            if not self._typed:
                out.append(byte)
        return bytes(out)


def terminal_size() -> tuple[int, int]:
    """Rows and columns of the user's terminal."""
    try:
        size = os.get_terminal_size(0)
    except OSError:
        return 24, 80
    return size.lines, size.columns


def require_terminal() -> None:
    """Raises InvalidInput unless standard input is a terminal."""
    if not os.isatty(0):
        raise InvalidInput("the input is not a terminal", hint="leave -t out")
