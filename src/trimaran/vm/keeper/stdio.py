"""Relays between a descriptor of the host and a channel of the guest, under the channel's credit."""

from __future__ import annotations

import asyncio
import os
import select
import termios
from collections.abc import Callable

from trimaran.vm.agent import Agent
from trimaran.vm.protocol import WINDOW

# A pipe that polls as writable takes this much without waiting (pipe(7), PIPE_BUF); so descriptors that
# others share keep their blocking mode.
_CHUNK = 4096
_READ = 64 << 10


class Output:
    """From the guest to a descriptor, which is taken over. ``done`` ends when all has been written."""

    def __init__(self, agent: Agent, fd: int) -> None:
        self.channel = agent.open_channel(self)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._agent = agent
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._pending = bytearray()
        self._ended = False
        self._pollable = _pollable(fd)
        self.last = self._loop.time()

    def received(self, data: bytes) -> None:
        """Data came: write it when the descriptor takes it."""
        self.last = self._loop.time()
        idle = not self._pending
        self._pending += data
        if not self._pollable:
            while self._pending:
                self._write()
        elif idle:
            self._loop.add_writer(self._fd, self._write)

    def ended(self) -> None:
        """No more comes: close once all is written."""
        self._ended = True
        if not self._pending:
            self.close()

    def credited(self, count: int) -> None:
        """Meaningless for a channel that only the guest sends on."""

    def _write(self) -> None:
        try:
            count = os.write(self._fd, self._pending[:_CHUNK])
        except BlockingIOError:
            return
        except OSError:  # nobody reads: what comes is dropped, so that the process is not held up
            count = len(self._pending)
        del self._pending[:count]
        self._agent.grant(self.channel, count)
        if not self._pending:
            if self._pollable:
                self._loop.remove_writer(self._fd)
            if self._ended:
                self.close()

    def close(self) -> None:
        """Close the descriptor; what has not been written is lost."""
        if self.done.done():
            return
        if self._pollable:
            self._loop.remove_writer(self._fd)
        os.close(self._fd)
        self._agent.close_channel(self.channel)
        self.done.set_result(None)


class Input:
    """From a descriptor, which is taken over, to the guest."""

    def __init__(self, agent: Agent, fd: int) -> None:
        self.channel = agent.open_channel(self)
        self._agent = agent
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._credit = WINDOW
        self._open = True
        self._pollable = _pollable(fd)

    def begin(self) -> None:
        """Start reading, once the process is there."""
        self._watch()

    def _watch(self) -> None:
        if self._pollable:
            self._loop.add_reader(self._fd, self._read)
        else:
            self._loop.call_soon(self._read)

    def _read(self) -> None:
        if not self._open:
            return
        try:
            data = os.read(self._fd, min(_READ, self._credit))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._agent.send_end(self.channel)
            self.close()
            return
        self._credit -= len(data)
        self._agent.send_data(self.channel, data)
        if not self._credit:
            self._pause()
        elif not self._pollable:
            self._loop.call_soon(self._read)

    def _pause(self) -> None:
        if self._pollable:
            self._loop.remove_reader(self._fd)

    def credited(self, count: int) -> None:
        """The guest took COUNT bytes."""
        stopped = not self._credit
        self._credit = min(WINDOW, self._credit + count)
        if stopped and self._open:
            self._watch()

    def received(self, data: bytes) -> None:
        """Meaningless for a channel that only the host sends on."""

    def ended(self) -> None:
        """The guest is gone."""
        self.close()

    def close(self) -> None:
        """Stop reading and close the descriptor."""
        if self._open:
            self._open = False
            self._pause()
            os.close(self._fd)
            self._agent.close_channel(self.channel)


class Streams:
    """A process's three streams, or its terminal. Channels are 0 where there is none."""

    def __init__(self, agent: Agent, fds: list[int]) -> None:
        """FDS: standard input, output and error, or a terminal twice; they are taken over."""
        self._terminal = fds[0] if os.isatty(fds[0]) and len(fds) == 2 else -1
        self.input = Input(agent, fds[0])
        self.outputs = [Output(agent, fd) for fd in fds[1:3]]
        self.channels = (self.input.channel, *(output.channel for output in self.outputs), 0)[:3]
        for fd in fds[3:]:
            os.close(fd)

    def size(self) -> tuple[int, int] | None:
        """(rows, columns) that the monitor gave the terminal; None if there is none, or no size."""
        if self._terminal < 0:
            return None
        columns, rows = os.get_terminal_size(self._terminal)
        return (rows, columns) if rows and columns else None

    def begin(self) -> None:
        """The process exists: let its input flow."""
        self.input.begin()

    async def finish(self, quiet: float) -> None:
        """The process has ended: wait for its output's end, or until none came for QUIET seconds.

        Descendants of a process may hold its pipes open for as long as they like.
        """
        loop = asyncio.get_running_loop()
        self.input.close()
        while waiting := [output.done for output in self.outputs if not output.done.done()]:
            await asyncio.wait(waiting, timeout=quiet)
            if all(output.last + quiet < loop.time() for output in self.outputs):
                break
        self.close()

    def close(self) -> None:
        """Close everything at once."""
        self.input.close()
        for output in self.outputs:
            output.close()


def _pollable(fd: int) -> bool:
    """Whether epoll(7) takes the descriptor: files and some devices are always ready, and refused."""
    with select.epoll() as poll:
        try:
            poll.register(fd)
        except PermissionError:
            return False
    return True


def open_terminal(agent: Agent, send_master: Callable[[int], None]) -> Streams:
    """A terminal on the host whose line discipline does nothing: the guest's own does the work."""
    master, slave = os.openpty()
    try:
        _make_raw(slave)
        send_master(master)
    finally:
        os.close(master)
    return Streams(agent, [os.dup(slave), slave])


def _make_raw(fd: int) -> None:
    """cfmakeraw(3): the guest's terminal echoes, edits lines and makes signals, this one passes bytes."""
    mode = termios.tcgetattr(fd)
    mode[0] = mode[1] = mode[3] = 0
    mode[2] = mode[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
    termios.tcsetattr(fd, termios.TCSANOW, mode)
