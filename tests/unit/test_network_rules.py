"""The rules of our table, as text for nft and as elements for netlink."""

from __future__ import annotations

import re
import sys

import pytest

from trimaran.linux import netlink
from trimaran.network.model import Endpoint, Network, NetworkSpec, PublishedPort, Subnet
from trimaran.network.rules import no_ruleset, port_element, ruleset

SUBNETS = (
    Subnet(4, "10.1.0.0", 16, "10.1.0.1", "10.1.0.1", "10.1.255.254"),
    Subnet(6, "fd00::", 64, "fd00::1", "fd00::1", "fd00::ffff:ffff:ffff:ffff"),
)
ENDPOINT = Endpoint("e", "c", "n", "web", "eth0", "tv1", "02:74:0a:01:00:02", "10.1.0.2", "fd00::2")


def network(**changes: object) -> Network:
    return Network("n", 0.0, NetworkSpec("web", **changes), "tb1", SUBNETS)  # type: ignore[arg-type]


def published(family: int, host_ip: str) -> PublishedPort:
    return PublishedPort("c", "e", "tcp", family, host_ip, 8080, 80)  # type: ignore[arg-type]


def rules_of(text: str, chain: str) -> list[str]:
    body = re.search(rf" chain {chain} {{(.*?)\n }}", text, re.DOTALL)
    assert body
    return [line.strip() for line in body[1].strip().splitlines()]


def test_the_table_replaces_itself() -> None:
    text = ruleset("t", [network()], [], 10053)
    assert text.startswith(no_ruleset("t") + "table inet t {")


def test_a_network_goes_out_with_the_host_s_address() -> None:
    assert 'oifname != "tb1" ip saddr 10.1.0.0/16 masquerade' in rules_of(
        ruleset("t", [network()], [], 10053), "postrouting"
    )
    for kind in ({"internal": True}, {"masquerade": False}):
        assert 'oifname != "tb1"' not in ruleset("t", [network(**kind)], [], 10053)


def test_the_last_word_on_what_goes_to_a_container_is_no() -> None:
    for kind in ({}, {"internal": True}, {"icc": False}):
        forward = rules_of(ruleset("t", [network(**kind)], [], 10053), "forward")
        assert forward[-1] == "oifname @bridges drop"
        assert forward[1] == "ct state established,related accept"


def test_an_internal_network_lets_nothing_through() -> None:
    forward = rules_of(ruleset("t", [network(internal=True)], [], 10053), "forward")
    accept = 'iifname "tb1" oifname "tb1" accept'
    assert forward[2:5] == [accept, 'iifname "tb1" drop', 'oifname "tb1" drop']


def test_ports_are_elements_of_the_map_for_their_address() -> None:
    ports = [
        (published(4, ""), ENDPOINT),
        (published(4, "192.0.2.1"), ENDPOINT),
        (published(6, ""), ENDPOINT),
    ]
    text = ruleset("t", [network()], ports, 10053)
    assert "elements = { tcp . 8080 : 10.1.0.2 . 80 }" in text
    assert "elements = { 192.0.2.1 . tcp . 8080 : 10.1.0.2 . 80 }" in text
    assert "elements = { tcp . 8080 : fd00::2 . 80 }" in text


def test_an_element_s_fields_are_padded_to_four_bytes() -> None:
    element = port_element(published(4, "192.0.2.1"), ENDPOINT)
    assert element.set == "publish4"
    assert element.key == bytes([192, 0, 2, 1, 6, 0, 0, 0, 0x1F, 0x90, 0, 0])
    assert element.data == bytes([10, 1, 0, 2, 0, 80, 0, 0])
    assert port_element(published(6, ""), ENDPOINT).set == "publish6_any"


def test_attributes_there_and_back() -> None:
    packed = netlink.string(3, "eth0") + netlink.u32(4, 1500) + netlink.nested(18, netlink.string(1, "veth"))
    assert netlink.attribute_list(packed) == [
        (3, b"eth0\0"),
        (4, (1500).to_bytes(4, sys.byteorder)),
        (18, (9).to_bytes(2, sys.byteorder) + (1).to_bytes(2, sys.byteorder) + b"veth\0\0\0\0"),
    ]
    assert len(packed) % 4 == 0


@pytest.mark.parametrize("data", [b"\x03\0\x01\0", b"\xff\0\x01\0abc", b"\0\0\0\0"])
def test_an_attribute_cut_short_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="cut short"):
        netlink.attributes(data)


def test_an_attribute_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="65540 bytes"):
        netlink.attribute(1, bytes(65536))
