"""Macvlan and ipvlan: containers on the host's own wire."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.network import OUTSIDE, World, talk

from trimaran.errors import InvalidInput, NotFound, Unsupported
from trimaran.network.model import NetworkSpec

pytestmark = [pytest.mark.root, pytest.mark.peer("nft")]
WIRE = {"subnets": ("203.0.113.0/24",), "ranges": ("203.0.113.64/26",), "interface": "wan0"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        yield made


def test_macvlan(world: World) -> None:
    before = world.traces()
    world.manager.create(NetworkSpec("wire", driver="macvlan", gateways=(OUTSIDE,), **WIRE))  # type: ignore[arg-type]
    box, result = world.attached("a" * 64, "wire:mac=02:00:00:00:00:42")
    assert result.endpoints[0].ipv4 == "203.0.113.64"
    assert box.links()["eth0"].mac.hex(":") == "02:00:00:00:00:42"
    assert f"default via {OUTSIDE}" in box.run("ip", "route")
    with world.outside.listen(80) as server:
        assert talk(box.connect(OUTSIDE, 80), server) == "203.0.113.64"
    with box.listen(81) as server:
        assert talk(world.outside.connect("203.0.113.64", 81), server) == OUTSIDE
    with pytest.raises(InvalidInput, match="no bridge network with a way out"):
        world.attached("b" * 64, "wire", ports=("80:80",))
    world.manager.detach("a" * 64, box.netns)
    assert set(box.links()) == {"lo"}
    world.manager.remove("wire")
    assert world.traces() == before


@pytest.mark.parametrize("mode", ["l2", "l3"])
def test_ipvlan(world: World, mode: str) -> None:
    world.manager.create(NetworkSpec("wire", driver="ipvlan", mode=mode, **WIRE))  # type: ignore[arg-type]
    probe = subprocess.run(
        ["ip", "link", "add", "probe0", "link", "wan0", "type", "ipvlan"], capture_output=True, check=False
    )
    if probe.returncode:
        with pytest.raises(Unsupported, match="this kernel has no ipvlan"):
            world.attached("a" * 64, "wire")
        return
    subprocess.run(["ip", "link", "del", "probe0"], check=True)
    box, result = world.attached("a" * 64, "wire")
    with world.outside.listen(80) as server:
        assert talk(box.connect(OUTSIDE, 80), server) == result.endpoints[0].ipv4


def test_what_cannot_be(world: World) -> None:
    with pytest.raises(InvalidInput, match="needs a link of the host"):
        world.manager.create(NetworkSpec("wire", driver="macvlan"))
    with pytest.raises(NotFound, match="the host has no link nope0"):
        world.manager.create(NetworkSpec("wire", driver="macvlan", interface="nope0"))
    with pytest.raises(InvalidInput, match="'l9' is no mode of ipvlan"):
        world.manager.create(NetworkSpec("wire", driver="ipvlan", interface="wan0", mode="l9"))
