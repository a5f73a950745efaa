"""The built-in bridge, with real sockets between test hosts."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.network import HOST, HOST6, OUTSIDE, OUTSIDE6, Box, World, talk

from trimaran.errors import Conflict, InvalidInput, NotFound
from trimaran.linux import _sys
from trimaran.network.model import EndpointRequest, NetworkRequest, NetworkSpec, PortRequest

pytestmark = [pytest.mark.root, pytest.mark.peer("nft")]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        yield made


@pytest.fixture
def plain_world(tmp_path: Path) -> Iterator[World]:
    """A host without br_netfilter, as most are."""
    with World(tmp_path, bridged_through_ip=False) as made:
        yield made


def test_a_container_reaches_host_neighbour_and_outside(world: World) -> None:
    a, result = world.attached("a" * 64)
    b, other = world.attached("b" * 64)
    assert result.endpoints[0].interface == "eth0"
    assert a.addresses() == {f"{result.endpoints[0].ipv4}/20"}
    with b.listen(80) as server:
        assert talk(a.connect(other.endpoints[0].ipv4, 80), server) == result.endpoints[0].ipv4
    with world.host.listen(81) as server:
        assert talk(a.connect(result.gateway, 81), server) == result.endpoints[0].ipv4
    with world.outside.listen(82) as server:
        assert talk(a.connect(OUTSIDE, 82), server) == HOST


def test_ipv6_beside_ipv4(world: World) -> None:
    world.manager.create(NetworkSpec("six", ipv6=True))
    a, result = world.attached("a" * 64, "six")
    b, other = world.attached("b" * 64, "six")
    assert result.endpoints[0].ipv6.startswith("fd")
    with b.listen(80, "::") as server:
        assert talk(a.connect(other.endpoints[0].ipv6, 80), server) == result.endpoints[0].ipv6
    with world.outside.listen(82, "::") as server:
        assert talk(a.connect(OUTSIDE6, 82), server) == HOST6


def test_networks_are_isolated_from_each_other_and_from_outside(world: World) -> None:
    world.manager.create(NetworkSpec("one", ipv6=True))
    world.manager.create(NetworkSpec("two", ipv6=True))
    a, _ = world.attached("a" * 64, "one")
    b, two = world.attached("b" * 64, "two")
    world.outside.run("ip", "route", "add", "10.208.0.0/12", "via", HOST)
    world.outside.run("ip", "route", "add", "fd00::/8", "via", HOST6)
    with b.listen(80), b.listen(81, "::"):
        assert not a.reaches(two.endpoints[0].ipv4, 80)
        assert not a.reaches(two.endpoints[0].ipv6, 81)
        assert not world.outside.reaches(two.endpoints[0].ipv4, 80)
        assert not world.outside.reaches(two.endpoints[0].ipv6, 81)
        assert world.host.reaches(two.endpoints[0].ipv4, 80)


def test_an_internal_network_has_no_way_out(world: World) -> None:
    world.manager.create(NetworkSpec("inner", internal=True))
    a, result = world.attached("a" * 64, "inner")
    b, other = world.attached("b" * 64, "inner")
    # Even with a route of its own making.
    a.run("ip", "route", "add", "default", "via", result.gateway)
    with world.outside.listen(82), b.listen(80):
        assert a.reaches(other.endpoints[0].ipv4, 80)
        assert not a.reaches(OUTSIDE, 82)
    with pytest.raises(InvalidInput, match="no bridge network with a way out"):
        world.attached("c" * 64, "inner", ports=("80",))


def test_without_icc_neighbours_are_strangers(plain_world: World) -> None:
    world = plain_world
    world.manager.create(NetworkSpec("apart", icc=False))
    a, result = world.attached("a" * 64, "apart")
    b, other = world.attached("b" * 64, "apart", ports=("8080:80",))
    address = other.endpoints[0].ipv4
    with b.listen(80), world.outside.listen(82):
        assert not a.reaches(address, 80)
        # Nor by way of the host.
        a.run("ip", "route", "add", f"{address}/32", "via", result.gateway)
        assert not a.reaches(address, 80)
        assert a.reaches(HOST, 8080)
        assert a.reaches(OUTSIDE, 82)


def test_addresses_and_macs_as_asked(world: World) -> None:
    world.manager.create(NetworkSpec("given", subnets=("10.99.0.0/24", "fd99::/64")))
    wish = "given:ip=10.99.0.77,ip6=fd99::77,mac=02:00:00:00:00:77,interface=net7"
    box, result = world.attached("a" * 64, wish)
    assert box.addresses() == {"10.99.0.77/24", "fd99::77/64"}
    assert box.links()["net7"].mac.hex(":") == "02:00:00:00:00:77"
    with pytest.raises(Conflict, match=r"10\.99\.0\.77 is taken: container aaaaaaaaaaaa has it"):
        world.attached("b" * 64, "given:ip=10.99.0.77")
    with pytest.raises(Conflict, match="02:00:00:00:00:77 is taken"):
        world.attached("b" * 64, "given:mac=02:00:00:00:00:77")
    with pytest.raises(InvalidInput, match=r"10\.98\.0\.1 is not for a container"):
        world.attached("b" * 64, "given:ip=10.98.0.1")
    with pytest.raises(Conflict, match="the gateway has it"):
        world.attached("b" * 64, "given:ip=10.99.0.1")
    world.manager.detach(result.endpoints[0].container_id)
    world.attached("b" * 64, "given:ip=10.99.0.77")


def test_a_full_subnet_says_so_and_a_freed_address_is_given_again(world: World) -> None:
    world.manager.create(NetworkSpec("small", subnets=("10.99.0.0/29",)))
    for i in range(5):
        world.attached(f"{i}" * 64, "small")
    with pytest.raises(
        Conflict, match=r"no free IPv4 address: all of 10\.99\.0\.1 to 10\.99\.0\.6 are taken"
    ):
        world.attached("a" * 64, "small")
    world.manager.detach("3" * 64)
    _, result = world.attached("b" * 64, "small")
    assert result.endpoints[0].ipv4 == "10.99.0.5"


def test_several_networks_connect_and_disconnect_while_running(world: World) -> None:
    world.manager.create(NetworkSpec("one"))
    world.manager.create(NetworkSpec("two", mtu=1400))
    a, result = world.attached("a" * 64, "one")
    b, other = world.attached("b" * 64, "two")
    with b.listen(80):
        assert not a.reaches(other.endpoints[0].ipv4, 80)
        endpoint = world.manager.connect("a" * 64, a.netns, EndpointRequest("two"))
        assert endpoint.interface == "eth1"
        assert a.links()["eth1"].mtu == 1400
        assert a.reaches(other.endpoints[0].ipv4, 80)
        # The default route was by the first network, and moves to the second.
        world.manager.disconnect("a" * 64, a.netns, "one")
        with world.outside.listen(82):
            assert a.reaches(OUTSIDE, 82)
    assert set(a.links()) == {"lo", "eth1"}
    with pytest.raises(NotFound, match="not on network one"):
        world.manager.disconnect("a" * 64, a.netns, "one")
    assert len(world.manager.result(result.endpoints[0].container_id).endpoints) == 1


def test_rules_and_bridge_come_back_after_a_flush(world: World) -> None:
    a, result = world.attached("a" * 64, ports=("8080:80",))
    bridge = world.manager.get("bridge").interface
    for damage in (
        ["nft", "flush", "ruleset"],
        ["ip", "link", "del", bridge],
        ["nft", "flush", "table", "inet"],
    ):
        if damage[-1] == "inet":
            damage = [*damage, subprocess.check_output(["nft", "list", "tables"], text=True).split()[-1]]
        subprocess.run(damage, check=True)
        with a.listen(80) as server:
            assert not world.outside.reaches(HOST, 8080)
            world.manager.recover(lambda _: True)
            assert talk(world.outside.connect(HOST, 8080), server) == OUTSIDE
    with world.outside.listen(82):
        assert a.reaches(OUTSIDE, 82)
    assert result.ports[0].host_port == 8080


def test_the_host_s_own_rules_are_left_alone(world: World) -> None:
    own = "table inet mine { chain c { type filter hook input priority 0; tcp dport 9 drop; }; }"
    subprocess.run(["nft", "-f", "-"], input=own, text=True, check=True)
    before = subprocess.check_output(["nft", "list", "table", "inet", "mine"])
    world.manager.create(NetworkSpec("one"))
    world.attached("a" * 64, "one", ports=("80",))
    world.manager.recover(lambda _: False)
    world.manager.remove("one")
    assert subprocess.check_output(["nft", "list", "ruleset"]) == before


def test_nothing_is_left(world: World) -> None:
    before = world.traces()
    world.manager.create(NetworkSpec("one", ipv6=True))
    world.attached("a" * 64, "one", ports=("8080:80", "53:53/udp"))
    with pytest.raises(Conflict, match="network one is in use: by container aaaaaaaaaaaa"):
        world.manager.remove("one")
    world.manager.detach("a" * 64)
    world.manager.detach("a" * 64)
    world.manager.remove("one")
    assert world.traces() == before


def test_names_and_subnets_that_are_taken(world: World) -> None:
    world.manager.create(NetworkSpec("one", subnets=("10.99.0.0/24",)))
    with pytest.raises(Conflict, match="named one exists"):
        world.manager.create(NetworkSpec("one"))
    with pytest.raises(Conflict, match=r"10\.99\.0\.0/24 is in use"):
        world.manager.create(NetworkSpec("two", subnets=("10.99.0.128/25",)))
    with pytest.raises(Conflict, match=r"203\.0\.113\.0/24 is in use"):
        world.manager.create(NetworkSpec("two", subnets=("203.0.113.0/28",)))
    with pytest.raises(InvalidInput, match="meaning of its own"):
        world.manager.create(NetworkSpec("host"))
    assert [network.name for network in world.manager.networks()] == ["one"]


def attach_times(world: World, count: int) -> list[float]:
    """Milliseconds of each attach, of that many containers that stay."""
    boxes = [world.container(f"{i:064}") for i in range(count)]
    taken = []
    for box in boxes:
        begin = time.perf_counter()
        world.manager.attach(box.id, box.netns, NetworkRequest((EndpointRequest(),)))
        taken.append((time.perf_counter() - begin) * 1000)
    return taken


def test_an_attach_takes_less_than_8_ms_and_the_hundredth_no_longer_than_the_first(world: World) -> None:
    world.manager.get("bridge")
    taken = attach_times(world, 100)
    # The quicker ones: what the machine does besides must not decide.
    first, last = (statistics.quantiles(times, n=4)[0] for times in (taken[:20], taken[-20:]))
    assert first < 8
    assert last < 2 * first + 1
    assert len({endpoint.ipv4 for endpoint in world.manager.endpoints(world.manager.get("bridge"))}) == 100


def test_many_processes_at_once_get_different_addresses(world: World) -> None:
    boxes = [world.container(f"{i:064}") for i in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda box: in_namespace(world, box), boxes))
    given = [endpoint.ipv4 for endpoint in world.manager.endpoints(world.manager.get("bridge"))]
    assert len(set(given)) == len(given) == 24


def in_namespace(world: World, box: Box) -> None:
    """Attach from a thread of its own, which has to be in the host's namespace first."""
    _sys.setns(world.host.netns)
    request = NetworkRequest((EndpointRequest(),), ports=(PortRequest(80),))
    world.manager.attach(box.id, box.netns, request)
