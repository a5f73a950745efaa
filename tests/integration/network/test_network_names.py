"""Names on networks: the resolver's process, asked by real containers' sockets."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.network import HOST, OUTSIDE, Box, World, talk

from trimaran.network.dns import message
from trimaran.network.files import resolv_conf
from trimaran.network.model import DnsOptions, EndpointRequest, NetworkRequest, NetworkResult, NetworkSpec

pytestmark = [pytest.mark.root, pytest.mark.peer("nft")]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        made.manager.create(NetworkSpec("web"))
        yield made
        for row in made.database.connection().execute("SELECT id FROM network_container").fetchall():
            made.manager.detach(row[0])
        wait_for(lambda: not resolvers(made))


def resolvers(world: World) -> list[int]:
    """The processes that serve the world's names."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if os.fsencode(str(world.directory)) in words:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            found += [int(pid)] if state != "Z" else []
    return found


def wait_for(condition: object, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def question(name: str, kind: int = message.A) -> bytes:
    head = b"\x12\x34\x01\x00\0\1\0\0\0\0\0\0"
    return head + message.write_name(name) + kind.to_bytes(2, "big") + b"\0\1"


def ask(
    box: Box, server: str, name: str, *, kind: int = message.A, tcp: bool = False
) -> tuple[int, list[str]]:
    asked = question(name, kind)
    with box.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect((server, 53))
        client.sendall((len(asked).to_bytes(2, "big") if tcp else b"") + asked)
        reply = client.recv(65535)
        if tcp:
            while len(reply) < 2 or len(reply) < 2 + int.from_bytes(reply[:2], "big"):
                reply += client.recv(65535)
            reply = reply[2:]
    assert reply[:2] == b"\x12\x34"
    found = []
    offset = len(asked)
    for _ in range(int.from_bytes(reply[6:8], "big")):
        size = int.from_bytes(reply[offset + 10 : offset + 12], "big")
        found.append(socket.inet_ntop(socket.AF_INET, reply[offset + 12 : offset + 12 + size]))
        offset += 12 + size
    return reply[3] & 15, found


class OutsideServer:
    """A name server on the outside machine that knows one name; and not over UDP the first time."""

    def __init__(self, world: World) -> None:
        self.asked: list[str] = []
        self._udp = world.outside.datagrams(53, OUTSIDE)
        self._tcp = world.outside.listen(53, OUTSIDE)
        for serve in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=serve, daemon=True).start()

    def _reply(self, data: bytes) -> bytes:
        query = message.Query(data)
        self.asked.append(query.name)
        return message.answer(query, [(message.A, bytes([198, 51, 100, 7]))], ttl=60, limit=512)

    def _serve_udp(self) -> None:
        self._udp.settimeout(None)
        while True:
            data, client = self._udp.recvfrom(4096)
            self._udp.sendto(self._reply(data), client)

    def _serve_tcp(self) -> None:
        self._tcp.settimeout(None)
        while True:
            client, _ = self._tcp.accept()
            with client:
                data = client.recv(4096)[2:]
                reply = self._reply(data)
                client.sendall(len(reply).to_bytes(2, "big") + reply)


def attach(
    world: World,
    id: str,
    network: str,
    *aliases: str,
    name: str = "",
    servers: tuple[str, ...] = ("127.0.0.1",),
) -> tuple[Box, NetworkResult]:
    box = world.container(id)
    request = NetworkRequest((EndpointRequest(network, aliases),), name=name, dns=DnsOptions(servers))
    return box, world.manager.attach(id, box.netns, request)


def test_names_and_aliases_over_udp_and_tcp_from_the_first_moment_on(world: World) -> None:
    a, result = attach(world, "a" * 64, "web", name="one")
    _, other = attach(world, "b" * 64, "web", "db", "sql", name="two")
    (server,) = result.resolver
    address = other.endpoints[0].ipv4
    for name in ("two", "DB", "sql", "two.web", "b" * 12):
        for tcp in (False, True):
            assert ask(a, server, name, tcp=tcp) == (message.NOERROR, [address])
    assert ask(a, server, "two", kind=message.AAAA) == (message.NOERROR, [])
    world.manager.detach("b" * 64)
    assert ask(a, server, "two", kind=message.A)[1] == []
    with world.host.listen(99, server) as listening:
        assert talk(a.connect(server, 99), listening) == result.endpoints[0].ipv4


def test_the_c_library_s_resolver_is_served(world: World, tmp_path: Path) -> None:
    a, result = attach(world, "a" * 64, "web", name="one")
    _, other = attach(world, "b" * 64, "web", name="two")
    path = tmp_path / "resolv.conf"
    path.write_text(resolv_conf("", DnsOptions(search=("web",)), result.resolver))
    found = a.run("unshare", "-m", "sh", "-c", f"mount --bind {path} /etc/resolv.conf && getent ahostsv4 two")
    assert found.split()[0] == other.endpoints[0].ipv4


def test_the_rest_is_asked_outside(world: World) -> None:
    outside = OutsideServer(world)
    a, result = attach(world, "a" * 64, "web", servers=("192.0.2.99", OUTSIDE))
    world.host.run("ip", "route", "add", "unreachable", "192.0.2.0/24")
    for tcp in (False, True):
        assert ask(a, result.resolver[0], "www.example.com", tcp=tcp) == (message.NOERROR, ["198.51.100.7"])
    assert outside.asked == ["www.example.com"] * 2


def test_a_container_without_a_way_out_asks_nobody_outside(world: World) -> None:
    outside = OutsideServer(world)
    world.manager.create(NetworkSpec("inner", internal=True))
    a, result = attach(world, "a" * 64, "inner", servers=(OUTSIDE,))
    _, other = attach(world, "b" * 64, "inner", name="two")
    assert ask(a, result.resolver[0], "two") == (message.NOERROR, [other.endpoints[0].ipv4])
    for tcp in (False, True):
        assert ask(a, result.resolver[0], "stolen-data.example.com", tcp=tcp)[0] == message.REFUSED
    assert outside.asked == []


def test_one_process_for_all_networks_and_none_without(world: World) -> None:
    world.manager.create(NetworkSpec("other"))
    assert resolvers(world) == []
    a, one = attach(world, "a" * 64, "web", name="one")
    b, two = attach(world, "b" * 64, "other", name="two")
    assert ask(a, one.resolver[0], "one")[1]
    assert ask(b, two.resolver[0], "two")[1]
    assert ask(b, two.resolver[0], "one")[1] == []
    assert len(resolvers(world)) == 1
    resident = Path(f"/proc/{resolvers(world)[0]}/smaps_rollup").read_text()
    pss = next(int(line.split()[1]) for line in resident.splitlines() if line.startswith("Pss:"))
    assert pss < 16_000, "KiB"
    for id in ("a", "b"):
        world.manager.detach(id * 64)
    wait_for(lambda: not resolvers(world))


def test_a_dead_resolver_is_started_again(world: World) -> None:
    a, result = attach(world, "a" * 64, "web", name="one")
    for again in (lambda: attach(world, "b" * 64, "web"), lambda: world.manager.recover(lambda _: True)):
        assert ask(a, result.resolver[0], "one")[1]
        (pid,) = resolvers(world)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not resolvers(world))
        again()
        assert ask(a, result.resolver[0], "one")[1]


def test_flushed_rules_come_back_by_themselves(world: World) -> None:
    a, result = attach(world, "a" * 64, "web", name="one")
    assert ask(a, result.resolver[0], "one")[1]
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    with world.outside.listen(82) as server:
        wait_for(lambda: "masquerade" in subprocess.check_output(["nft", "list", "ruleset"], text=True))
        assert talk(a.connect(OUTSIDE, 82), server) == HOST


def test_port_53_may_be_published_and_another_server_s(world: World) -> None:
    a, result = attach(world, "a" * 64, "web", name="one")
    with world.host.datagrams(53), world.host.listen(53):
        assert ask(a, result.resolver[0], "one")[1]
    b, _ = world.attached("b" * 64, "web", ports=("53:53/udp",))
    with b.datagrams(53) as server, world.outside.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        assert ask(a, result.resolver[0], "one")[1]
        client.sendto(b"for the container", (HOST, 53))
        assert server.recv(100) == b"for the container"


def test_the_resolver_moves_to_a_free_port(world: World) -> None:
    with world.host.datagrams(10053):
        a, result = attach(world, "a" * 64, "web", name="one")
        assert ask(a, result.resolver[0], "one", tcp=True)[1]
    assert ask(a, result.resolver[0], "one")[1]


def test_a_resolver_whose_directory_is_removed_ends(world: World) -> None:
    attach(world, "a" * 64, "web")
    wait_for(lambda: resolvers(world))
    (pid,) = resolvers(world)
    (world.directory / "resolver.sock").unlink()
    wait_for(lambda: not Path(f"/proc/{pid}").exists() or pid not in resolvers(world), seconds=15)
