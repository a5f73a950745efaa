"""Which subnets a new network gets, and which addresses its containers."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimaran.errors import Conflict, InvalidInput
from trimaran.network import store
from trimaran.network.addresses import network_of, plan_subnets
from trimaran.network.model import Network, NetworkSpec, Subnet
from trimaran.network.schema import AREA
from trimaran.state import Database

ULA = "fd12:3456:789a::/48"


def test_a_free_subnet_is_chosen() -> None:
    taken = [network_of("10.208.0.0/19"), network_of("10.209.0.0/16"), network_of("fd12:3456:789a::/64")]
    four, six = plan_subnets(NetworkSpec("n", ipv6=True), taken, ULA)
    assert four == Subnet(4, "10.208.32.0", 20, "10.208.32.1", "10.208.32.1", "10.208.47.254")
    assert six.address == "fd12:3456:789a:1::"
    assert six.prefix == 64
    assert six.gateway == "fd12:3456:789a:1::1"


def test_subnet_gateway_and_range_as_asked() -> None:
    spec = NetworkSpec("n", subnets=("10.9.0.0/16",), gateways=("10.9.255.254",), ranges=("10.9.8.0/24",))
    assert plan_subnets(spec, [], ULA) == (
        Subnet(4, "10.9.0.0", 16, "10.9.255.254", "10.9.8.0", "10.9.8.255"),
    )


def test_a_macvlan_takes_its_parent_s_subnet_and_no_gateway_of_its_own() -> None:
    spec = NetworkSpec("n", driver="macvlan", subnets=("192.0.2.0/24",), interface="eth0")
    (subnet,) = plan_subnets(spec, [network_of("192.0.2.0/24")], ULA)
    assert subnet.gateway is None


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        (NetworkSpec("n", subnets=("10.0.0.0/8",)), Conflict),
        (NetworkSpec("n", subnets=("10.1.0.0/31",)), InvalidInput),
        (NetworkSpec("n", subnets=("10.1.0.0/24", "10.2.0.0/24")), InvalidInput),
        (NetworkSpec("n", subnets=("10.1.0.0/24",), gateways=("10.2.0.1",)), InvalidInput),
        (NetworkSpec("n", subnets=("10.1.0.0/24",), ranges=("10.2.0.0/25",)), InvalidInput),
        (NetworkSpec("n", subnets=("nonsense",)), InvalidInput),
        (NetworkSpec("n", gateways=("nonsense",)), InvalidInput),
    ],
)
def test_what_cannot_be(spec: NetworkSpec, error: type[Exception]) -> None:
    with pytest.raises(error):
        plan_subnets(spec, [network_of("10.5.0.0/16")], ULA)


def test_no_free_subnet() -> None:
    with pytest.raises(Conflict, match="no subnet is free"):
        plan_subnets(NetworkSpec("n"), [network_of("10.208.0.0/12")], ULA)


def test_addresses_go_round(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "state.db"), [AREA])
    subnet = Subnet(4, "10.1.0.0", 29, "10.1.0.1", "10.1.0.1", "10.1.0.6")
    network = Network("i" * 64, 0.0, NetworkSpec("n"), "br", (subnet,))
    with database.write() as connection:
        store.save_network(connection, network)
        given = [store.text(store.allocate(connection, network, 4, "")) for _ in range(7)]
    # Nothing was saved, so none is taken; but the latest given comes last again.
    assert given == [f"10.1.0.{n}" for n in (2, 3, 4, 5, 6, 2, 3)]
    assert store.load_networks(database.connection()) == [network]
    with pytest.raises(Conflict, match="a network named n exists"):
        store.save_network(database.connection(), Network("j" * 64, 0.0, NetworkSpec("n"), "br", ()))
    database.close()
