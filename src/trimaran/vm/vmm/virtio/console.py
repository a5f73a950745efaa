"""A console with several ports (virtio 1.2, section 5.3): byte streams with names, to sockets of the host."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from typing import Any

from trimaran.vm.vmm.events import READ, WRITE, Events
from trimaran.vm.vmm.memory import GuestMemory
from trimaran.vm.vmm.virtio.device import VERSION_1, Device
from trimaran.vm.vmm.virtio.queue import Queue, RingError

_MULTIPORT = 1 << 1
_CONTROL = struct.Struct("<IHH")
_DEVICE_READY, _DEVICE_ADD, _PORT_READY, _CONSOLE_PORT, _PORT_OPEN, _PORT_NAME = 0, 1, 3, 4, 6, 7
_CONTROL_IN, _CONTROL_OUT = 2, 3
_MAX_CONTROL = 64
_MAX_WAITING = 64
# More than a driver sends at once: what one chain may hold.
_MAX_OUTPUT = 1 << 20


class Port:
    """One stream: a name, and a descriptor of a stream socket, which is taken over."""

    def __init__(self, number: int, name: str, fd: int) -> None:
        self.number = number
        self.name = name
        self.fd = fd
        self.open = False
        self.output = b""
        os.set_blocking(fd, False)

    @property
    def input_queue(self) -> int:
        """The queue of buffers for the guest to receive in."""
        return 0 if self.number == 0 else 2 * self.number + 2

    @property
    def output_queue(self) -> int:
        """The queue of what the guest sends."""
        return self.input_queue + 1


class Console(Device):
    """Ports without a console among them: they show as ``/dev/vportNpM``."""

    kind = 3
    features = VERSION_1 | _MULTIPORT

    def __init__(self, memory: GuestMemory, ports: Sequence[tuple[str, int]]) -> None:
        # Port 0 is the driver's to take as a console: it stays unused, and the named ones begin at 1.
        self.ports = [Port(number, name, fd) for number, (name, fd) in enumerate(ports, 1)]
        self.queue_count = 2 * (len(self.ports) + 2)
        super().__init__(memory)
        self._events: Events | None = None
        self._control: list[bytes] = []

    def config(self) -> bytes:
        """cols, rows, max_nr_ports, emerg_wr."""
        return struct.pack("<HHII", 0, 0, len(self.ports) + 1, 0)

    def attach(self, events: Events) -> None:
        """See :class:`Device`."""
        self._events = events

    def reset(self) -> None:
        """See :class:`Device`."""
        self._control.clear()
        for port in self.ports:
            port.open = False
            self._watch(port)

    def notified(self, queue: int) -> None:
        """See :class:`Device`."""
        if queue == _CONTROL_OUT:
            self._take_control()
        elif queue == _CONTROL_IN:
            self._send_control()
        for port in self.ports:
            if queue == port.input_queue:
                self._watch(port)
            elif queue == port.output_queue:
                self._transmit(port)

    def _take_control(self) -> None:
        queue = self.queues[_CONTROL_OUT]
        for _ in range(queue.size):
            chain = queue.pop()
            if chain is None:
                break
            data = chain.copy(_MAX_CONTROL)
            queue.push(chain, 0)
            if len(data) >= _CONTROL.size:
                self._obey(*_CONTROL.unpack_from(data))
        self.interrupt(queue)
        self._send_control()

    def _obey(self, number: int, event: int, value: int) -> None:
        if event == _DEVICE_READY and value:
            for port in self.ports:
                self._tell(port.number, _DEVICE_ADD, 1)
        for port in self.ports:
            if port.number != number:
                continue
            if event == _PORT_READY and value:
                self._tell(number, _PORT_NAME, 1, port.name.encode())
                self._tell(number, _PORT_OPEN, 1)
            elif event == _PORT_OPEN:
                port.open = bool(value)
                self._watch(port)

    def _tell(self, port: int, event: int, value: int, extra: bytes = b"") -> None:
        # A driver that never takes messages has none kept for it beyond these.
        if len(self._control) < _MAX_WAITING:
            self._control.append(_CONTROL.pack(port, event, value) + extra)

    def _send_control(self) -> None:
        queue = self.queues[_CONTROL_IN]
        sent = False
        while self._control and (chain := queue.pop()) is not None:
            queue.push(chain, chain.fill(self._control.pop(0)))
            sent = True
        if sent:
            self.interrupt(queue)

    def _watch(self, port: Port) -> None:
        """Wait for what can be done now: input if the guest has room, output if some is left."""
        if self._events is None:
            return
        wanted = (READ if port.open else 0) | (WRITE if port.output else 0)
        events = self._events
        if wanted:
            events.call(lambda: events.watch(port.fd, lambda found: self._ready(port, found), wanted))
        else:
            events.call(lambda: events.unwatch(port.fd))

    def _ready(self, port: Port, found: int) -> None:
        if self.transport is None:
            return
        if found & WRITE:
            self.transport.guard(lambda: self._transmit(port))
        if found & ~WRITE:
            self.transport.guard(lambda: self._receive(port))

    def _receive(self, port: Port) -> None:
        """Give the guest what the host sends, as far as it has room."""
        queue: Queue = self.queues[port.input_queue]
        done = False
        for _ in range(queue.size or 1):
            chain = queue.pop()
            if chain is None:
                self._pause(port)
                break
            if not chain.write_size:
                raise RingError("a buffer for input without room")
            try:
                count = os.readv(port.fd, chain.writable)
            except BlockingIOError:
                queue.undo_pop()
                break
            except OSError:  # the host's end broke off
                count = 0
            if not count:
                queue.undo_pop()
                self._leave(port)
                break
            queue.push(chain, count)
            done = True
        if done:
            self.interrupt(queue)

    def _pause(self, port: Port) -> None:
        """Wait for the guest's next buffer (its notification watches again)."""
        if self._events is not None:
            if port.output:
                self._events.watch(port.fd, lambda found: self._ready(port, found), WRITE)
            else:
                self._events.unwatch(port.fd)

    def _leave(self, port: Port) -> None:
        """The host's end was closed: the guest's port hangs up."""
        if self._events is not None:
            self._events.unwatch(port.fd)
        self._tell(port.number, _PORT_OPEN, 0)
        self._send_control()

    def _transmit(self, port: Port) -> None:
        """Send what the guest gave; what the socket does not take now is kept, and no more taken."""
        queue = self.queues[port.output_queue]
        done = False
        # What the guest adds meanwhile it notifies of: one turn is bounded.
        for _ in range(queue.size + 1):
            if port.output and not self._flush(port):
                self._watch(port)
                break
            chain = queue.pop()
            if chain is None:
                self._watch(port)
                break
            if chain.read_size > _MAX_OUTPUT:
                raise RingError("more output at once than a port takes")
            port.output = chain.copy(_MAX_OUTPUT)
            queue.push(chain, 0)
            done = True
        if done:
            self.interrupt(queue)

    def _flush(self, port: Port) -> bool:
        try:
            sent = os.write(port.fd, port.output)
        except BlockingIOError:
            return False
        except OSError:  # nobody is there any more
            sent = len(port.output)
        port.output = port.output[sent:]
        return not port.output

    def close(self) -> None:
        """See :class:`Device`."""
        for port in self.ports:
            os.close(port.fd)

    def save(self) -> dict[str, Any]:
        """See :class:`Device`."""
        return {"open": [port.open for port in self.ports]}

    def restore(self, state: dict[str, Any]) -> None:
        """See :class:`Device`. The streams are new ones: they begin where the guest's stopped."""
        for port, was_open in zip(self.ports, state["open"], strict=True):
            port.open = was_open
            self._watch(port)
