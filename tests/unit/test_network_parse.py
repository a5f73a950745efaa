"""The command line's network syntax."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimaran.errors import InvalidInput
from trimaran.network.model import EndpointRequest, NetworkMode, PortRequest
from trimaran.network.parse import parse_extra_host, parse_mac, parse_mode, parse_network, parse_ports


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", PortRequest(80)),
        ("8080:80", PortRequest(80, 8080)),
        ("8080:80/udp", PortRequest(80, 8080, "udp")),
        ("127.0.0.1:8080:80", PortRequest(80, 8080, "tcp", "127.0.0.1")),
        ("127.0.0.1::80", PortRequest(80, 0, "tcp", "127.0.0.1")),
        ("[::1]:8080:80/sctp", PortRequest(80, 8080, "sctp", "::1")),
        ("[::]::80", PortRequest(80, 0, "tcp", "::")),
        ("8000-8009:9000-9009", PortRequest(9000, 8000, "tcp", "", 10)),
        ("9000-9009", PortRequest(9000, 0, "tcp", "", 10)),
    ],
)
def test_ports(text: str, expected: PortRequest) -> None:
    assert parse_ports(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "0", "65536", "a", "80/icmp", "1:2:3:4", "::1:80:80", "[::1]", "[::1]80", "[zz]:1:2"]
    + ["300.1.1.1:1:2", "80-79", "1-2:1", "1-2:1-3", "-1", "+80", " 80", "8\u0660"],
)
def test_what_is_no_port(text: str) -> None:
    with pytest.raises(InvalidInput, match="cannot publish"):
        parse_ports(text)


@given(st.text(max_size=40))
def test_any_text_is_a_port_or_a_clear_error(text: str) -> None:
    try:
        parsed = parse_ports(text)
    except InvalidInput:
        return
    assert 1 <= parsed.container_port <= parsed.container_port + parsed.count - 1 <= 65535


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web", EndpointRequest("web")),
        ("default", EndpointRequest("bridge")),
        ("name=web", EndpointRequest("web")),
        ("web:ip=10.0.0.9,alias=db,alias=sql", EndpointRequest("web", ("db", "sql"), "10.0.0.9")),
        ("name=web,mac-address=02-00-00-00-00-0A", EndpointRequest("web", mac="02:00:00:00:00:0a")),
        ("web:ip6=fd00::9,interface_name=net1", EndpointRequest("web", ipv6="fd00::9", interface="net1")),
    ],
)
def test_networks(text: str, expected: EndpointRequest) -> None:
    assert parse_network(text) == expected


@pytest.mark.parametrize(
    "text",
    ["web:ip=fd00::1", "web:ip6=10.0.0.1", "web:color=red", "web:alias=a b", "web:alias="]
    + ["web:mac=01:00:00:00:00:01", "web:mac=00:00:00:00:00:00"]
    + ["web:interface=a/b", "web:interface=lo", "web:interface=sixteen-letters-x"],
)
def test_what_is_no_network(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_network(text)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], NetworkMode("networks", endpoints=(EndpointRequest(),))),
        (["none"], NetworkMode("none")),
        (["host"], NetworkMode("host")),
        (["container:web"], NetworkMode("container", "web")),
        (["ns:/run/netns/a"], NetworkMode("ns", "/run/netns/a")),
        (["pasta:-I,eth7"], NetworkMode("pasta", "-I,eth7")),
        (
            ["a", "b:ip=10.0.0.2"],
            NetworkMode("networks", endpoints=(EndpointRequest("a"), EndpointRequest("b", ipv4="10.0.0.2"))),
        ),
    ],
)
def test_modes(values: list[str], expected: NetworkMode) -> None:
    assert parse_mode(values) == expected


@pytest.mark.parametrize(
    "values",
    [["none", "web"], ["web", "host"], ["container"], ["ns:"], ["ns:netns/a"], ["host:x"], ["web", "web"]],
)
def test_what_is_no_mode(values: list[str]) -> None:
    with pytest.raises(InvalidInput):
        parse_mode(values)


def test_a_mac_is_made_uniform() -> None:
    assert parse_mac("02-AB-cd-00-00-01") == "02:ab:cd:00:00:01"


def test_extra_hosts() -> None:
    assert parse_extra_host("db:10.0.0.5") == ("db", "10.0.0.5")
    assert parse_extra_host("db=10.0.0.5") == ("db", "10.0.0.5")
    assert parse_extra_host("db:fd00::5") == ("db", "fd00::5")
    assert parse_extra_host("db:[fd00::5]") == ("db", "fd00::5")
    assert parse_extra_host("me:host-gateway", "10.208.0.1") == ("me", "10.208.0.1")
    for text in ("", "db", ":1.2.3.4", "db:nowhere", "a b:1.2.3.4"):
        with pytest.raises(InvalidInput):
            parse_extra_host(text)
