"""The host's end of the agent: calls, channels of data, and news of processes, over one byte stream."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable
from typing import Any, Protocol

from trimaran.errors import GuestError, KernelError, TimedOut
from trimaran.vm.protocol import WINDOW, Argument, Decoder, Kind, Op, call, frame, reply_parts, u32

_READ_SIZE = 256 << 10
CALL_SECONDS = 60.0


class CallFailed(KernelError):
    """The guest's kernel refused an operation. ``detail`` is what the agent said about it."""

    def __init__(self, operation: Op, errno: int, arguments: tuple[Argument, ...], detail: bytes) -> None:
        path = next((word for word in arguments if isinstance(word, str) and word.startswith("/")), "")
        super().__init__(
            operation.name.lower(), errno, path, message=f"guest: {operation.name.lower()} {path}"
        )
        self.detail = detail


class Receiver(Protocol):
    """What takes the guest's data of one channel."""

    def received(self, data: bytes) -> None:
        """Data came."""

    def ended(self) -> None:
        """No more comes."""

    def credited(self, count: int) -> None:
        """The guest consumed COUNT bytes of what was sent."""


class Agent:
    """One guest's agent. Use from one event loop."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._decoder = Decoder()
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self._channels = itertools.count(1)
        self._processes = itertools.count(1)
        self._calls: dict[int, asyncio.Future[tuple[int, bytes]]] = {}
        self._receivers: dict[int, Receiver] = {}
        self._incoming: dict[int, int] = {}
        self._exits: dict[int, asyncio.Future[int]] = {}
        self._output = bytearray()
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self.lost: asyncio.Future[str] = self._loop.create_future()
        self._loop.add_reader(connection, self._readable)

    def close(self) -> None:
        """Leave the guest alone; whatever waits for it fails."""
        self._lose("the machine was stopped")

    async def call(self, operation: Op, *arguments: Argument, seconds: float = CALL_SECONDS) -> bytes:
        """Ask for an operation. Raises :class:`CallFailed`, :class:`GuestError`, :class:`TimedOut`."""
        number = next(self._numbers)
        future: asyncio.Future[tuple[int, bytes]] = self._loop.create_future()
        self._calls[number] = future
        try:
            self._send(call(number, operation, arguments))
            status, result = await asyncio.wait_for(future, seconds)
        except TimeoutError as error:
            raise TimedOut(f"the guest did not answer {operation.name.lower()} in {seconds:g} s") from error
        finally:
            self._calls.pop(number, None)
        if status:
            raise CallFailed(operation, status, arguments, result)
        return result

    def open_channel(self, receiver: Receiver) -> int:
        """A new channel whose data goes to RECEIVER."""
        channel = next(self._channels)
        self._receivers[channel] = receiver
        self._incoming[channel] = WINDOW
        return channel

    def open_messages(self, receiver: Receiver) -> int:
        """A new channel of whole messages, which flow without credit."""
        channel = next(self._channels)
        self._receivers[channel] = receiver
        return channel

    def close_channel(self, channel: int) -> None:
        """Forget a channel; what the guest still sends on it is dropped."""
        self._receivers.pop(channel, None)
        self._incoming.pop(channel, None)

    def send_data(self, channel: int, data: bytes) -> None:
        """Send DATA; the caller keeps to the channel's credit."""
        self._send(frame(Kind.DATA, channel, data))

    def send_end(self, channel: int) -> None:
        """Nothing more will be sent on the channel."""
        self._send(frame(Kind.END, channel))

    def grant(self, channel: int, count: int) -> None:
        """Tell the guest that COUNT bytes of the channel were consumed."""
        if channel in self._incoming and count:
            self._incoming[channel] += count
            self._send(frame(Kind.CREDIT, channel, count.to_bytes(4, "little")))

    def new_process(self) -> tuple[int, asyncio.Future[int]]:
        """(number for a process, future of its wait status)."""
        number = next(self._processes)
        future: asyncio.Future[int] = self._loop.create_future()
        self._exits[number] = future
        return number, future

    def _send(self, data: bytes) -> None:
        if self.lost.done():
            raise GuestError("the guest is gone", why=self.lost.result())
        idle = not self._output
        self._output += data
        if idle:
            self._flush()

    def _flush(self) -> None:
        try:
            while self._output:
                sent = self._socket.send(self._output)
                del self._output[:sent]
            self._loop.remove_writer(self._socket)
        except BlockingIOError:
            self._loop.add_writer(self._socket, self._flush)
        except OSError as error:
            self._lose(str(error))

    def _readable(self) -> None:
        try:
            data = self._socket.recv(_READ_SIZE)
            if not data:
                self._lose("its machine ended")
                return
            for kind, channel, payload in self._decoder.feed(data):
                self._handlers[kind](self, channel, payload)
        except BlockingIOError:
            pass
        except (OSError, GuestError) as error:
            self._lose(str(error))

    def _lose(self, why: str) -> None:
        if self.lost.done():
            return
        self.lost.set_result(why)
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        error = GuestError("the guest is gone", why=why)
        waiting: list[asyncio.Future[Any]] = [*self._calls.values(), *self._exits.values(), self.ready]
        for future in waiting:
            if not future.done():
                future.set_exception(error)
                future.exception()
        for receiver in list(self._receivers.values()):
            receiver.ended()
        self._receivers.clear()

    def _on_ready(self, channel: int, payload: bytes) -> None:
        if u32(payload) != 1:
            raise GuestError(
                "the guest's agent has another version", hint="remove the cache of initramfs files"
            )
        if not self.ready.done():
            self.ready.set_result(None)

    def _on_reply(self, number: int, payload: bytes) -> None:
        status, result = reply_parts(payload)
        future = self._calls.get(number)
        if future is not None and not future.done():
            future.set_result((status, result))

    def _on_data(self, channel: int, payload: bytes) -> None:
        receiver = self._receivers.get(channel)
        if receiver is None:
            return
        if channel in self._incoming:
            self._incoming[channel] -= len(payload)
            if self._incoming[channel] < 0:
                raise GuestError(
                    "the guest's agent broke the protocol", why="it sent more than it has credit for"
                )
        receiver.received(payload)

    def _on_end(self, channel: int, payload: bytes) -> None:
        receiver = self._receivers.pop(channel, None)
        if receiver is not None:
            receiver.ended()

    def _on_credit(self, channel: int, payload: bytes) -> None:
        count = u32(payload)
        receiver = self._receivers.get(channel)
        if receiver is not None:
            receiver.credited(count)

    def _on_exit(self, process: int, payload: bytes) -> None:
        status = u32(payload)
        future = self._exits.pop(process, None)
        if future is not None and not future.done():
            future.set_result(status)

    _handlers: dict[Kind, Callable[[Agent, int, bytes], None]] = {
        Kind.READY: _on_ready,
        Kind.REPLY: _on_reply,
        Kind.DATA: _on_data,
        Kind.END: _on_end,
        Kind.CREDIT: _on_credit,
        Kind.EXIT: _on_exit,
    }
