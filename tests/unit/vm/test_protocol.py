"""The agent's frames: what a guest may send, and what breaks the protocol."""

import asyncio
import socket
import struct

import pytest

from trimaran.errors import GuestError
from trimaran.vm.agent import Agent, CallFailed
from trimaran.vm.protocol import HEADER, MAX_FRAME, WINDOW, Decoder, Kind, Op, call, frame


def test_frames_come_out_however_the_stream_is_cut():
    stream = frame(Kind.REPLY, 7, b"\0\0\0\0ok") + frame(Kind.DATA, 1, b"x" * 1000) + frame(Kind.END, 1)
    expected = [(Kind.REPLY, 7, b"\0\0\0\0ok"), (Kind.DATA, 1, b"x" * 1000), (Kind.END, 1, b"")]
    for step in (1, 5, 12, 13, len(stream)):
        decoder = Decoder()
        found = []
        for at in range(0, len(stream), step):
            found += decoder.feed(stream[at : at + step])
        assert found == expected


@pytest.mark.parametrize(
    "header",
    [
        HEADER.pack(MAX_FRAME + 1, Kind.DATA, 0, 1),
        HEADER.pack(0xFFFFFFFF, Kind.DATA, 0, 1),
        HEADER.pack(0, Kind.CALL, 0, 1),
        HEADER.pack(0, 99, 0, 1),
        HEADER.pack(0, Kind.DATA, 1, 1),
    ],
)
def test_what_no_agent_sends_is_refused(header):
    with pytest.raises(GuestError, match="broke the protocol"):
        list(Decoder().feed(header))


def test_a_call_too_large_is_refused_before_it_is_sent():
    with pytest.raises(ValueError, match="too large"):
        call(1, Op.WRITE, ("/x", 0, 0, bytes(5 << 20)))


class Collector:
    def __init__(self):
        self.data = b""
        self.over = False

    def received(self, data):
        self.data += data

    def ended(self):
        self.over = True

    def credited(self, count):
        pass


def with_agent(scenario):
    """Run SCENARIO(agent, guest's end of the stream)."""

    async def body():
        host, guest = socket.socketpair()
        guest.setblocking(False)
        agent = Agent(host)
        try:
            await scenario(agent, guest)
        finally:
            agent.close()
            guest.close()

    asyncio.run(body())


def test_a_call_and_its_reply():
    async def scenario(agent, guest):
        loop = asyncio.get_running_loop()
        pending = asyncio.ensure_future(agent.call(Op.READ, "/etc/x"))
        sent = await loop.sock_recv(guest, 4096)
        _, kind, _, number = HEADER.unpack_from(sent)
        assert kind == Kind.CALL
        assert sent[HEADER.size :] == struct.pack("<HI", Op.READ, 6) + b"/etc/x"
        await loop.sock_sendall(guest, frame(Kind.REPLY, number, struct.pack("<i", 0) + b"content"))
        assert await pending == b"content"

    with_agent(scenario)


def test_a_refusal_names_the_call_and_the_path():
    async def scenario(agent, guest):
        loop = asyncio.get_running_loop()
        pending = asyncio.ensure_future(agent.call(Op.READ, "/etc/x"))
        number = HEADER.unpack_from(await loop.sock_recv(guest, 4096))[3]
        await loop.sock_sendall(guest, frame(Kind.REPLY, number, struct.pack("<i", 2)))
        with pytest.raises(CallFailed, match="read /etc/x: No such file") as caught:
            await pending
        assert caught.value.errno == 2

    with_agent(scenario)


def test_a_guest_that_exceeds_its_credit_is_cut_off():
    async def scenario(agent, guest):
        collector = Collector()
        channel = agent.open_channel(collector)
        data = frame(Kind.DATA, channel, bytes(WINDOW)) + frame(Kind.DATA, channel, b"!")
        await asyncio.get_running_loop().sock_sendall(guest, data)
        assert "credit" in await asyncio.wait_for(agent.lost, 5)
        assert len(collector.data) == WINDOW
        assert collector.over

    with_agent(scenario)


@pytest.mark.parametrize("garbage", [b"\xff" * 64, frame(Kind.REPLY, 1, b"x"), frame(Kind.EXIT, 1, b"abc")])
def test_garbage_ends_the_connection_and_fails_what_waits(garbage):
    async def scenario(agent, guest):
        pending = asyncio.ensure_future(agent.call(Op.SYNC))
        await asyncio.sleep(0)
        await asyncio.get_running_loop().sock_sendall(guest, garbage)
        with pytest.raises(GuestError):
            await asyncio.wait_for(pending, 5)
        assert agent.lost.done()

    with_agent(scenario)


def test_replies_and_data_for_nobody_are_dropped():
    async def scenario(agent, guest):
        stray = frame(Kind.REPLY, 99, bytes(4)) + frame(Kind.DATA, 99, b"x") + frame(Kind.EXIT, 99, bytes(4))
        await asyncio.get_running_loop().sock_sendall(
            guest, stray + frame(Kind.READY, 0, struct.pack("<I", 1))
        )
        await asyncio.wait_for(agent.ready, 5)

    with_agent(scenario)
