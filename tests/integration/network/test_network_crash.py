"""SIGKILL at every step of every change: the next one to look leaves nothing of it, or all of it.

The steps are those that the manager announces before each change of the host, and the ends of the
transactions that enclose them; they are counted, and each has its turn.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.network import World

from trimaran.network.manager import NetworkManager
from trimaran.network.model import EndpointRequest, NetworkRequest, NetworkSpec
from trimaran.network.parse import parse_ports
from trimaran.network.schema import AREA
from trimaran.state import Database

pytestmark = [pytest.mark.root, pytest.mark.peer("nft")]

Change = Callable[[NetworkManager, int], None]
ID = "c" * 64


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        yield made


class Killing(Database):
    """A database whose process dies at the n-th moment: a step, or the start or end of a transaction."""

    def __init__(self, path: str, moment: int) -> None:
        super().__init__(path, [AREA])
        self._left = moment

    def tick(self, _: str = "") -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def announce(self, *args: object) -> object:  # type: ignore[override]
        made = super().announce(*args)  # type: ignore[arg-type]
        self.tick()
        return made

    def withdraw(self, intent: object) -> None:
        self.tick()
        super().withdraw(intent)  # type: ignore[arg-type]


def survives(world: World, change: Change, netns: int, moment: int) -> bool:
    """Carry out a change in a process that is killed at that moment; whether it ended before."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            database = Killing(world.database.path, moment)
            change(NetworkManager(database, str(world.directory), step=database.tick), netns)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return not os.WIFSIGNALED(status)


def killed_at_each_moment(world: World, change: Change, prepare: Change, is_whole: Callable[[], bool]) -> int:
    """How many moments there were. After each, what is left is what was before, or the whole change."""
    moment = 0
    while True:
        moment += 1
        box = world.container(ID)
        prepare(world.manager, box.netns)
        before = world.traces()
        done = survives(world, change, box.netns, moment)
        world.manager.recover()
        if not is_whole():
            assert world.traces() == before, f"moment {moment}"
            assert set(box.links()) <= {"lo", "eth0"}
        world.manager.detach(ID)
        if done:
            return moment


def attach(manager: NetworkManager, netns: int) -> None:
    endpoints = (EndpointRequest("one"), EndpointRequest("two"))
    ports = (parse_ports("8080-8089:80-89"), parse_ports("53/udp"))
    manager.attach(ID, netns, NetworkRequest(endpoints, ports))


def nothing(_: NetworkManager, __: int) -> None:
    pass


def two_networks(world: World) -> None:
    for name in ("one", "two"):
        world.manager.create(NetworkSpec(name, ipv6=True, dns=False))


def test_attach(world: World) -> None:
    two_networks(world)
    whole = lambda: len(world.manager.result(ID).ports) == 22  # noqa: E731
    assert killed_at_each_moment(world, attach, nothing, whole) > 6


def test_detach(world: World) -> None:
    two_networks(world)
    clean = world.traces()
    detach: Change = lambda manager, _: manager.detach(ID)  # noqa: E731
    whole = lambda: world.traces() == clean  # noqa: E731
    assert killed_at_each_moment(world, detach, attach, whole) > 4


def test_connect_and_disconnect(world: World) -> None:
    two_networks(world)

    def only_one(manager: NetworkManager, netns: int) -> None:
        manager.attach(ID, netns, NetworkRequest((EndpointRequest("one"),)))

    def endpoints() -> int:
        return len(world.manager.result(ID).endpoints)

    connect: Change = lambda manager, netns: manager.connect(ID, netns, EndpointRequest("two")) and None  # noqa: E731
    assert killed_at_each_moment(world, connect, only_one, lambda: endpoints() == 2) > 3

    def both(manager: NetworkManager, netns: int) -> None:
        only_one(manager, netns)
        connect(manager, netns)

    disconnect: Change = lambda manager, netns: manager.disconnect(ID, netns, "two")  # noqa: E731
    assert killed_at_each_moment(world, disconnect, both, lambda: endpoints() == 1) > 3


def test_create_and_remove(world: World) -> None:
    world.manager.create(NetworkSpec("first"))
    spec = NetworkSpec("made", ipv6=True)

    def made() -> bool:
        return "made" in [network.name for network in world.manager.networks()]

    def gone(manager: NetworkManager, _: int) -> None:
        if made():
            manager.remove("made")

    create: Change = lambda manager, _: manager.create(spec) and None  # noqa: E731
    assert killed_at_each_moment(world, create, gone, made) > 3

    def there(manager: NetworkManager, _: int) -> None:
        if not made():
            manager.create(spec)

    remove: Change = lambda manager, _: manager.remove("made")  # noqa: E731
    assert killed_at_each_moment(world, remove, there, lambda: not made()) > 3


def test_a_container_that_died_with_its_engine_gives_everything_back(world: World) -> None:
    two_networks(world)
    before = world.traces()
    box = world.container(ID)
    attach(world.manager, box.netns)
    assert world.manager.recover(lambda _: False) == [f"detached container {ID}"]
    assert world.traces() == before
