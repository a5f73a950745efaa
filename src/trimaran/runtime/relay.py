"""What a caller that stays does for its container: signals and a terminal, passed on."""

from __future__ import annotations

import os
import select

from trimaran.linux import _sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SIGCHLD, _SIGWINCH, _SIGKILL, _SIGSTOP, _SIGURG, _SIGPIPE, _SIGTTOU = 17, 28, 9, 19, 23, 13, 22
_TIOCGWINSZ, _TIOCSWINSZ = 0x5413, 0x5414
_KEPT = {_SIGCHLD, _SIGKILL, _SIGSTOP, _SIGURG, _SIGPIPE, _SIGTTOU}


def until_exit(pidfd: int, console: int) -> None:
    """Return when the process has ended; its last output has been passed on by then."""
    signals = _catch_signals()
    raw = _make_raw() if console >= 0 else None
    try:
        _loop(pidfd, console, signals)
    finally:
        _release_signals(signals)
        if raw is not None:
            import termios

            termios.tcsetattr(0, termios.TCSADRAIN, raw)


def _catch_signals() -> int:
    """From now on signals arrive as bytes on the descriptor that is returned."""
    import _signal  # type: ignore[import-not-found]

    read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    _signal.set_wakeup_fd(write)
    for number in range(1, 32):
        if number not in _KEPT:
            _signal.signal(number, _ignore)
    return read


def _ignore(number: int, frame: object) -> None:
    """A handler of Python's must exist for the number to be written to the descriptor."""


def _release_signals(read: int) -> None:
    import _signal

    os.close(_signal.set_wakeup_fd(-1))
    os.close(read)


def _make_raw() -> list[Any] | None:
    """Our terminal lets every key through; its former settings, or None if we have none."""
    if not os.isatty(0):
        return None
    import termios

    old = termios.tcgetattr(0)
    new = termios.tcgetattr(0)
    # cfmakeraw(3)
    new[0] &= ~(
        termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
        | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
    )  # fmt: skip
    new[1] &= ~termios.OPOST
    new[2] = new[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    new[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    termios.tcsetattr(0, termios.TCSADRAIN, new)
    return old


def _copy_size(console: int) -> None:
    import fcntl

    try:
        fcntl.ioctl(console, _TIOCSWINSZ, fcntl.ioctl(0, _TIOCGWINSZ, b"\0" * 8))
    except OSError:
        # Standard input is no terminal: the container's keeps the size that it has.
        return


def _loop(pidfd: int, console: int, signals: int) -> None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(signals, select.POLLIN)
    if console >= 0:
        _copy_size(console)
        poll.register(console, select.POLLIN)
        poll.register(0, select.POLLIN)
    ended = False
    while not ended or console >= 0:
        # When the process has ended, only what the terminal still holds is waited for.
        ready = dict(poll.poll(100 if ended else None))
        if ended and not ready:
            return
        if signals in ready:
            _pass_on(os.read(signals, 64), pidfd, console)
        if console >= 0 and 0 in ready:
            keys = os.read(0, 4096)
            if keys:
                os.write(console, keys)
            else:
                poll.unregister(0)
        if console in ready and not _show(console):
            poll.unregister(console)
            console = -1
        if pidfd in ready:
            poll.unregister(pidfd)
            ended = True


def _show(console: int) -> bool:
    """Copy output to ours; False when no process has the terminal open any more (EIO)."""
    try:
        data = os.read(console, 1 << 16)
    except OSError:
        return False
    while data:
        data = data[os.write(1, data) :]
    return True


def _pass_on(numbers: bytes, pidfd: int, console: int) -> None:
    for number in numbers:
        if number == _SIGWINCH and console >= 0:
            _copy_size(console)
            continue
        try:
            _sys.send_signal(pidfd, number)
        except ProcessLookupError:
            return
