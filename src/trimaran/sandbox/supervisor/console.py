"""The first process's terminal: its master side is a socket, whose other end the monitor has."""

from __future__ import annotations

import os
import select
import struct

from trimaran.sandbox.kernel.tty import Terminal, name_terminal, new_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.sandbox.kernel.kernel import Kernel

STEP = 16384


class Console:
    """Moves what is typed to the terminal, and what is printed to the socket."""

    def __init__(self, kernel: Kernel, fd: int, size: tuple[int, int], uid: int) -> None:
        self.kernel = kernel
        self.fd = fd
        self.terminal: Terminal = new_terminal(kernel)
        self.terminal.locked = False
        self.resize(*size)
        name_terminal(self.terminal, uid, 5)
        os.set_blocking(fd, False)
        self.terminal.to_master.observers.append(self.flush)
        events = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
        kernel.watch(fd, events, self._ready)

    def resize(self, rows: int, columns: int) -> None:
        self.terminal.resize(struct.pack("=HHHH", rows & 0xFFFF, columns & 0xFFFF, 0, 0))

    def _ready(self, events: int) -> None:
        while True:
            try:
                data = os.read(self.fd, STEP)
            except BlockingIOError:
                break
            except ConnectionResetError:
                data = b""
            if not data:
                self.close()
                return
            self.terminal.type(data)
        self.flush()

    def flush(self) -> None:
        """Send what has been printed, as far as the other side takes it."""
        output = self.terminal.output
        while output and self.fd >= 0:
            try:
                done = os.write(self.fd, output[:STEP])
            except BlockingIOError:
                return
            except OSError:
                output.clear()
                return
            del output[:done]
            self.terminal.to_slave.wake()

    def close(self) -> None:
        """The other side has left, or the process has ended."""
        if self.fd >= 0:
            self.flush()
            self.kernel.unwatch(self.fd)
            os.close(self.fd)
            self.fd = -1
            self.terminal.hang_up()
