"""Published ports, with real sockets: from outside, from the host, from the container itself."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.network import HOST, HOST6, OUTSIDE, OUTSIDE6, Box, World, talk

from trimaran.errors import Conflict, InvalidInput, Unsupported
from trimaran.linux import _sys
from trimaran.network.model import NetworkSpec

pytestmark = [pytest.mark.root, pytest.mark.peer("nft")]


@pytest.fixture(params=[True, False], ids=["br_netfilter", "plain"])
def world(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    with World(tmp_path, bridged_through_ip=request.param) as made:
        made.manager.create(NetworkSpec("six", ipv6=True))
        yield made


def test_from_everywhere_with_the_source_address_kept(world: World) -> None:
    box, result = world.attached("a" * 64, "six", ports=("8080:80",))
    neighbour, _ = world.attached("b" * 64, "six")
    stranger, _ = world.attached("c" * 64)
    gateway = result.gateway
    with box.listen(80) as server:
        assert talk(world.outside.connect(HOST, 8080), server) == OUTSIDE
        assert talk(world.host.connect(HOST, 8080), server) == HOST
        # From the loopback the source is the bridge's address: an answer to 127.0.0.1 would stay inside.
        assert talk(world.host.connect("127.0.0.1", 8080), server) == gateway
        assert talk(box.connect(HOST, 8080), server) == gateway
        assert talk(box.connect(gateway, 8080), server) == gateway
        assert talk(neighbour.connect(HOST, 8080), server) == gateway
        assert talk(stranger.connect(HOST, 8080), server) == gateway
    with box.listen(80, "::") as server:
        assert talk(world.outside.connect(HOST6, 8080), server) == OUTSIDE6
        assert talk(world.host.connect(HOST6, 8080), server) == HOST6
        assert talk(box.connect(HOST6, 8080), server).startswith("fd")


def exchange(client: Box, address: str, port: int, server: socket.socket) -> str:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with client.socket(family, socket.SOCK_DGRAM) as sender:
        sender.connect((address, port))
        sender.send(b"ping")
        data, peer = server.recvfrom(100)
        assert data == b"ping"
        server.sendto(b"pong", peer)
        assert sender.recv(100) == b"pong"
    return str(peer[0])


def test_udp(world: World) -> None:
    box, result = world.attached("a" * 64, "six", ports=("5353:53/udp",))
    with box.datagrams(53) as server:
        assert exchange(world.outside, HOST, 5353, server) == OUTSIDE
        assert exchange(world.host, "127.0.0.1", 5353, server) == result.gateway
        assert exchange(box, HOST, 5353, server) == result.gateway
    with box.datagrams(53, "::") as server:
        assert exchange(world.outside, HOST6, 5353, server) == OUTSIDE6


def test_a_udp_flow_follows_the_port_to_its_new_container(world: World) -> None:
    with world.outside.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(0.2)
        sender.connect((HOST, 5353))
        sender.send(b"too early")
        for id in ("a" * 64, "b" * 64):
            box, _ = world.attached(id, "six", ports=("5353:53/udp",))
            with box.datagrams(53) as server:
                try:
                    sender.send(b"ping")
                except ConnectionRefusedError:
                    # The answer to what was sent before somebody listened.
                    sender.send(b"ping")
                assert server.recv(100) == b"ping"
            world.manager.detach(id)


def test_ranges_addresses_and_any_port(world: World) -> None:
    ports = ("9000-9002:80-82", "127.0.0.1:9100:80", f"[{HOST6}]:9200:80", "83", f"{HOST}::84/udp")
    box, result = world.attached("a" * 64, "six", ports=ports)
    chosen = {p.container_port: p.host_port for p in result.ports if p.container_port in (83, 84)}
    assert all(1024 < port < 65536 for port in chosen.values())
    with box.listen(82) as server:
        assert talk(world.outside.connect(HOST, 9002), server) == OUTSIDE
    with box.listen(83) as server:
        assert talk(world.outside.connect(HOST, chosen[83]), server) == OUTSIDE
    with box.datagrams(84) as server:
        assert exchange(world.outside, HOST, chosen[84], server) == OUTSIDE
    with box.listen(80) as server:
        talk(world.host.connect("127.0.0.1", 9100), server)
        with pytest.raises(ConnectionRefusedError):
            world.host.connect("::1", 9002)
        with pytest.raises(Unsupported, match="publish on 127"):
            world.attached("b" * 64, "six", ports=("[::1]:9300:80",))
        assert not world.outside.reaches(HOST, 9100)
        assert not world.host.reaches(HOST, 9100)


def test_a_conflict_names_who_has_the_port(world: World) -> None:
    world.attached("a" * 64, "six", ports=("8080:80",))
    before = world.traces()
    with pytest.raises(Conflict, match="8080/tcp is taken: container aaaaaaaaaaaa publishes it"):
        world.attached("b" * 64, "six", ports=("8080:80",))
    with pytest.raises(Conflict, match="8080/tcp is taken: container aaaaaaaaaaaa publishes it"):
        world.attached("b" * 64, "six", ports=("7070:70", "127.0.0.1:8080:80"))
    with world.host.listen(8081), pytest.raises(Conflict, match=rf"\(process {os.getpid()}\) has it"):
        world.attached("b" * 64, "six", ports=("8081:80",))
    with world.host.datagrams(8081), pytest.raises(Conflict, match=rf"\(process {os.getpid()}\) has it"):
        world.attached("b" * 64, "six", ports=("8081:80/udp",))
    with pytest.raises(InvalidInput, match="the host has no such address"):
        world.attached("b" * 64, "six", ports=("198.51.100.1:8081:80",))
    with pytest.raises(InvalidInput, match="no IPv6 address on network bridge"):
        world.attached("b" * 64, "bridge", ports=(f"[{HOST6}]:8081:80",))
    after = world.traces()
    # The last one made the default network, at its first use.
    assert {k: v for k, v in after.items() if k != "rules"} | {
        "links": 0,
        "network": 0,
        "network_subnet": 0,
    } == {k: v for k, v in before.items() if k != "rules"} | {"links": 0, "network": 0, "network_subnet": 0}


def test_what_is_published_on_the_loopback_is_out_of_reach_from_the_same_wire(world: World) -> None:
    box, _ = world.attached("a" * 64, "six", ports=("127.0.0.1:8080:80",))
    neighbour, other = world.attached("b" * 64, "six")
    with box.listen(80), world.host.listen(81, "127.0.0.1"):
        assert world.host.reaches("127.0.0.1", 8080)
        for machine, link, gateway in ((world.outside, "lan0", HOST), (neighbour, "eth0", other.gateway)):
            # The machine is made to send what is for 127.0.0.1 to the host.
            machine.run("sysctl", "-qw", f"net.ipv4.conf.{link}.route_localnet=1")
            machine.run("ip", "addr", "del", "127.0.0.1/8", "dev", "lo")
            machine.run("ip", "route", "add", "127.0.0.1/32", "via", gateway, "dev", link)
            assert not machine.reaches("127.0.0.1", 8080)
            assert not machine.reaches("127.0.0.1", 81)


def crc32c(data: bytes) -> int:
    """RFC 9260, appendix A."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_sctp_packets_are_led_to_the_container(world: World) -> None:
    """With raw sockets, since few kernels here have SCTP itself: an INIT chunk, as a client sends first."""
    box, _ = world.attached("a" * 64, "six", ports=("9999:99/sctp",))
    chunk = bytes([1, 0]) + (20).to_bytes(2, "big") + bytes([0, 0, 0, 1, 0, 0, 16, 0, 0, 1, 0, 1, 0, 0, 0, 1])
    header = (40000).to_bytes(2, "big") + (9999).to_bytes(2, "big") + bytes(8)
    packet = header[:8] + crc32c(header + chunk).to_bytes(4, "little") + chunk
    with (
        socket.socket(fileno=_sys.socket_in_netns(box.netns, socket.AF_INET, socket.SOCK_RAW, 132)) as inside,
        socket.socket(
            fileno=_sys.socket_in_netns(world.outside.netns, socket.AF_INET, socket.SOCK_RAW, 132)
        ) as sender,
    ):
        inside.settimeout(5)
        sender.sendto(packet, (HOST, 0))
        received, (source, _) = inside.recvfrom(1000)
    assert source == OUTSIDE
    assert received[20:24] == (40000).to_bytes(2, "big") + (99).to_bytes(2, "big")
    assert received[32:] == chunk
