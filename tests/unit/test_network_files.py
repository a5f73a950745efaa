"""What a container finds in /etc/hosts and /etc/resolv.conf."""

from __future__ import annotations

import pytest

from trimaran.errors import InvalidInput
from trimaran.network.files import hostname_file, hosts_file, parse_resolv_conf, resolv_conf
from trimaran.network.model import DnsOptions, Endpoint, NetworkResult

ENDPOINT = Endpoint("e", "c" * 64, "n", "web", "eth0", "tv1", "02:74:0a:d0:00:02", "10.208.0.2", "fd00::2")
RESULT = NetworkResult((ENDPOINT,), gateway="10.208.0.1")
HOST = """# made by hand
nameserver 127.0.0.53
nameserver 192.0.2.53  # trailing
search corp.example example
options edns0 trust-ad
"""


def test_hosts() -> None:
    text = hosts_file(RESULT, "box.example", [("db", "10.9.9.9"), ("host.internal", "host-gateway")])
    lines = dict(line.split("\t") for line in text.splitlines())
    assert lines["127.0.0.1"] == "localhost"
    assert lines["10.9.9.9"] == "db"
    assert lines["10.208.0.1"] == "host.internal"
    assert lines["10.208.0.2"] == lines["fd00::2"] == "box.example box"
    assert text.endswith("\n")


def test_hosts_without_a_network() -> None:
    assert "127.0.1.1\tbox\n" in hosts_file(NetworkResult(), "box")
    with pytest.raises(InvalidInput, match="host-gateway"):
        hosts_file(NetworkResult(), "box", [("h", "host-gateway")])


def test_hostname() -> None:
    assert hostname_file("box") == "box\n"


def test_resolv_conf_from_the_host_without_its_loopback_servers() -> None:
    expected = "nameserver 192.0.2.53\nsearch corp.example example\noptions edns0 trust-ad\n"
    assert resolv_conf(HOST, DnsOptions(), ()) == expected


def test_resolv_conf_as_the_host_s_where_the_network_is_shared() -> None:
    assert resolv_conf(HOST, DnsOptions(), (), shares_host=True).startswith("nameserver 127.0.0.53\n")


def test_resolv_conf_with_our_resolver_names_it_alone() -> None:
    wanted = DnsOptions(("9.9.9.9",), ("lan",), ("ndots:2",))
    assert (
        resolv_conf(HOST, wanted, ("10.208.0.1",)) == "nameserver 10.208.0.1\nsearch lan\noptions ndots:2\n"
    )


def test_resolv_conf_as_wanted() -> None:
    wanted = DnsOptions(("9.9.9.9",), (".",), ())
    assert resolv_conf(HOST, wanted, ()) == "nameserver 9.9.9.9\noptions edns0 trust-ad\n"


def test_unknown_lines_are_passed_over() -> None:
    assert parse_resolv_conf("nameserver\nsortlist 1.2.3.4\n;c\ndomain a\n") == DnsOptions((), ("a",), ())
