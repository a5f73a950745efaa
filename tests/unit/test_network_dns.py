"""DNS messages, and who may know which name."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimaran.network import store
from trimaran.network.dns import message
from trimaran.network.dns.names import HostServers
from trimaran.network.dns.server import Resolver
from trimaran.network.model import EndpointRequest, Network, NetworkSpec, Subnet
from trimaran.network.schema import AREA
from trimaran.state import Database


def question(name: str, kind: int = message.A, *, id: int = 7, qclass: int = 1, flags: int = 0x0100) -> bytes:
    head = id.to_bytes(2, "big") + flags.to_bytes(2, "big") + b"\0\1\0\0\0\0\0\0"
    return head + message.write_name(name) + kind.to_bytes(2, "big") + qclass.to_bytes(2, "big")


@pytest.fixture
def resolver(tmp_path: Path) -> Resolver:
    """Networks ``web`` (a, b) and ``inner`` (b, c; internal); a has a server of its own."""
    database = Database(str(tmp_path / "state.db"), [AREA])
    connection = database.connection()
    web = Network("w", 0.0, NetworkSpec("web"), "br1", (_subnet(4, "10.1.0."), _subnet(6, "fd01::")))
    inner = Network("i", 0.0, NetworkSpec("inner", internal=True), "br2", (_subnet(4, "10.2.0."),))
    for network in (web, inner):
        store.save_network(connection, network)
    members = {"a": ('[["9.9.9.9"], []]', [web]), "b": ("[[], []]", [web, inner]), "c": ("[[], []]", [inner])}
    for name, (servers, networks) in members.items():
        connection.execute(
            "INSERT INTO network_container (id, name, resolver) VALUES (?, ?, ?)",
            (name * 64, f"{name}box", servers),
        )
        for position, network in enumerate(networks):
            names = (f"{name}box", "shared")
            store.save_endpoint(connection, name * 64, network, position, EndpointRequest(), names)
    nowhere = tmp_path / "resolv.conf"
    nowhere.write_text("nameserver 192.0.2.53\n")
    return Resolver(database, HostServers(str(nowhere)))


def _subnet(family: int, start: str) -> Subnet:
    last = f"{start}254" if family == 4 else f"{start}ffff"
    address = f"{start}0" if family == 4 else start
    return Subnet(4 if family == 4 else 6, address, 24 if family == 4 else 64, f"{start}1", f"{start}1", last)


def ask(
    resolver: Resolver, name: str, kind: int = message.A, *, at: str = "10.1.0.1", by: str = "10.1.0.2"
) -> set[str]:
    reply = resolver.resolve(question(name, kind), at, by, 512)
    assert isinstance(reply, bytes)
    assert reply[:2] == b"\0\7"
    assert reply[3] & 15 == message.NOERROR
    return {decode(data) for data in records(reply, question(name, kind))}


def records(reply: bytes, asked: bytes) -> list[bytes]:
    found = []
    offset = len(asked)
    for _ in range(int.from_bytes(reply[6:8], "big")):
        size = int.from_bytes(reply[offset + 10 : offset + 12], "big")
        found.append(reply[offset + 12 : offset + 12 + size])
        offset += 12 + size
    assert offset == len(reply)
    return found


def decode(data: bytes) -> str:
    if len(data) in (4, 16):
        return socket.inet_ntop(socket.AF_INET if len(data) == 4 else socket.AF_INET6, data)
    return message._read_name(data, 0)[0]


def test_names_on_one_s_own_networks(resolver: Resolver) -> None:
    assert ask(resolver, "bbox") == {"10.1.0.3"}
    assert ask(resolver, "BBox.web") == {"10.1.0.3"}
    assert ask(resolver, "shared") == {"10.1.0.2", "10.1.0.3"}
    assert ask(resolver, "bbox", message.AAAA) == {"fd01::3"}
    assert ask(resolver, "cbox", at="10.2.0.1", by="10.2.0.2") == {"10.2.0.3"}
    # b is on both networks, whichever resolver it asks.
    assert ask(resolver, "abox", at="10.2.0.1", by="10.2.0.2") == {"10.1.0.2"}


def test_a_name_without_an_address_of_the_kind_has_no_records(resolver: Resolver) -> None:
    assert ask(resolver, "cbox", message.AAAA, at="10.2.0.1", by="10.2.0.2") == set()


def test_reverse(resolver: Resolver) -> None:
    assert ask(resolver, "3.0.1.10.in-addr.arpa", message.PTR) == {"bbox.web"}
    name = ".".join(reversed(socket.inet_pton(socket.AF_INET6, "fd01::3").hex())) + ".ip6.arpa"
    assert ask(resolver, name, message.PTR) == {"bbox.web"}


def test_names_of_other_networks_are_asked_elsewhere(resolver: Resolver) -> None:
    reply = resolver.resolve(question("cbox"), "10.1.0.1", "10.1.0.2", 512)
    assert isinstance(reply, tuple)
    assert reply[1] == ("9.9.9.9",)
    reply = resolver.resolve(question("example.com"), "10.1.0.1", "10.1.0.3", 512)
    assert isinstance(reply, tuple)
    assert reply[1] == ("192.0.2.53",)


def code(reply: object) -> int:
    assert isinstance(reply, bytes)
    return reply[3] & 15


def test_an_internal_container_learns_nothing_from_outside(resolver: Resolver) -> None:
    assert (
        code(resolver.resolve(question("secret.example.com"), "10.2.0.1", "10.2.0.3", 512)) == message.REFUSED
    )


def test_strangers_are_refused(resolver: Resolver) -> None:
    assert code(resolver.resolve(question("bbox"), "10.1.0.1", "10.9.9.9", 512)) == message.REFUSED
    # An address of another network than the one whose gateway was asked.
    assert code(resolver.resolve(question("bbox"), "10.1.0.1", "10.2.0.3", 512)) == message.REFUSED


def test_what_is_no_question(resolver: Resolver) -> None:
    at, by = "10.1.0.1", "10.1.0.2"
    good = question("bbox")
    assert resolver.resolve(b"short", at, by, 512) is None
    assert resolver.resolve(question("bbox", flags=0x8100), at, by, 512) is None
    assert code(resolver.resolve(good[:-1], at, by, 512)) == message.FORMERR
    assert code(resolver.resolve(good[:12] + b"\xc0\x0c\0\1\0\1", at, by, 512)) == message.FORMERR
    assert code(resolver.resolve(good[:4] + b"\0\2" + good[6:], at, by, 512)) == message.FORMERR
    assert code(resolver.resolve(question("bbox", flags=0x2800), at, by, 512)) == message.NOTIMP


@given(st.binary(max_size=300))
def test_no_bytes_break_it(data: bytes) -> None:
    try:
        query = message.Query(data)
    except message.Malformed:
        return
    assert query.question == data[12 : 12 + len(query.question)]
    message.reverse_address(query.name)


def test_a_long_answer_is_cut_and_says_so() -> None:
    query = message.Query(question("many"))
    many = [(message.A, bytes(4))] * 100
    cut = message.answer(query, many, ttl=5, limit=512)
    assert len(cut) <= 512
    assert cut[2] & 2
    assert not message.answer(query, many, ttl=5, limit=65535)[2] & 2


def test_only_the_answer_to_the_question_counts() -> None:
    asked = question("example.com", id=9)
    reply = bytes([0, 9, 0x81, 0x80]) + asked[4:]
    section = asked[12:]
    assert message.answers(reply, 9, section)
    assert message.answers(
        reply.upper()[:2] + reply[2:4] + asked[4:12] + section.upper()[:12] + section[12:], 9, section
    )
    assert not message.answers(reply, 8, section)
    assert not message.answers(asked, 9, section)
    assert not message.answers(reply, 9, question("other.example")[12:])


def test_the_host_s_servers_are_read_again_when_they_change(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    servers = HostServers(str(path))
    assert servers.get() == ()
    path.write_text("nameserver 192.0.2.1\n")
    assert servers.get() == ("192.0.2.1",)
    (tmp_path / "new").write_text("nameserver 192.0.2.2\n")
    (tmp_path / "new").rename(path)
    assert servers.get() == ("192.0.2.2",)
