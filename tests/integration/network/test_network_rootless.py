"""Networks without root: an ordinary user's container, joined by pasta or slirp4netns."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.network import HOST, OUTSIDE, Box, World, talk

from trimaran.network.rootless import stop

pytestmark = [pytest.mark.root, pytest.mark.ordinary_user, pytest.mark.peer("pasta", "slirp4netns")]

USER = 23456
TOP = Path(__file__).parents[3]
CHANGE = """
import os, sys
from trimaran.network.manager import NetworkManager
from trimaran.network.model import NetworkRequest
from trimaran.network.parse import parse_ports
from trimaran.network.schema import AREA
from trimaran.state import Database

directory, what, program, netns, *ports = sys.argv[1:]
manager = NetworkManager(Database(directory + "/state.db", [AREA]), directory)
if what == "attach":
    request = NetworkRequest(ports=tuple(map(parse_ports, ports)), program=program)
    print(manager.attach("c" * 64, os.open(netns, os.O_RDONLY), request).resolver[0])
else:
    manager.detach("c" * 64)
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        yield made


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """The user's own directory, and a tun device that users may open, as most hosts have it."""
    directory = Path(f"/tmp/trimaran-rootless-{os.getpid()}")
    directory.mkdir(mode=0o700)
    os.chown(directory, USER, USER)
    device = tmp_path / "tun"
    os.mknod(device, 0o020666, os.makedev(10, 200))
    device.chmod(0o666)
    yield directory
    stop(str(directory), "c" * 64)
    subprocess.run(["rm", "-rf", str(directory)], check=True)


def as_user(world: World, *command: str, wait: bool = True) -> subprocess.Popen[str]:
    device = world.directory / "tun"
    user = f"--reuid {USER} --regid {USER} --clear-groups"
    script = f'mount --bind {device} /dev/net/tun && exec setpriv {user} "$@"'
    words = ["unshare", "--mount", "sh", "-c", script, "sh", *command]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if wait:
        process.wait(30)
    return process


@pytest.fixture
def container(world: World, home: Path) -> Iterator[tuple[subprocess.Popen[str], Box]]:
    process = as_user(world, "unshare", "--user", "--map-root-user", "--net", "sleep", "100", wait=False)
    path = f"/proc/{process.pid}/ns/net"
    while os.stat(path).st_ino == os.fstat(world.host.netns).st_ino:
        time.sleep(0.01)
    netns = os.open(path, os.O_RDONLY)
    yield process, Box("c", netns)
    os.close(netns)
    process.kill()
    process.communicate()


def change(world: World, home: Path, what: str, program: str, netns: str = "", *ports: str) -> str:
    words = [sys.executable, "-c", CHANGE, str(home), what, program, netns, *ports]
    process = as_user(world, *words)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return output.strip()


def programs(home: Path) -> list[str]:
    listed = subprocess.check_output(["ps", "-eww", "-o", "stat=,args="], text=True).splitlines()
    return [line for line in listed if f"{home}/rootless-" in line and not line.startswith("Z")]


@pytest.mark.parametrize("program", ["pasta", "slirp4netns"])
def test_out_and_in_by_ports_without_root(
    world: World, home: Path, container: tuple[subprocess.Popen[str], Box], program: str
) -> None:
    process, box = container
    ports = ("8080:80", "127.0.0.1:8081:81", "9000-9001:90-91")
    resolver = change(world, home, "attach", program, f"/proc/{process.pid}/ns/net", *ports)
    assert resolver == ("169.254.1.1" if program == "pasta" else "10.0.2.3")
    assert len(programs(home)) == 1
    with world.outside.listen(80) as server:
        assert talk(box.connect(OUTSIDE, 80), server) == HOST
    with box.listen(80) as server:
        talk(world.outside.connect(HOST, 8080), server)
    with box.listen(91) as server:
        talk(world.outside.connect(HOST, 9001), server)
    with box.listen(81) as server:
        talk(world.host.connect("127.0.0.1", 8081), server)
        assert not world.outside.reaches(HOST, 8081)
    # The host's loopback stays the host's.
    gateway = box.run("ip", "route", "show", "default").split()[2]
    with world.host.listen(7777, "127.0.0.1"):
        assert not box.reaches(gateway, 7777)
        assert not box.reaches("127.0.0.1", 7777)
    change(world, home, "detach", program)
    assert programs(home) == []
    assert [path.name for path in home.iterdir() if path.name.startswith("rootless")] == []


@pytest.mark.parametrize("program", ["pasta", "slirp4netns"])
def test_what_fails_is_said_and_leaves_nothing(
    world: World, home: Path, container: tuple[subprocess.Popen[str], Box], program: str
) -> None:
    process, _ = container
    words = [sys.executable, "-c", CHANGE, str(home), "attach", program, f"/proc/{process.pid}/ns/net"]
    with world.host.listen(8080):
        failed = as_user(world, *words, "8080:80")
        errors = failed.communicate()[1]
    assert failed.returncode
    assert "the host's port 8080/tcp is taken" in errors.splitlines()[-1]
    assert programs(home) == []
    (world.directory / "tun").chmod(0o600)
    failed = as_user(world, *words)
    assert "/dev/net/tun" in failed.communicate()[1].splitlines()[-1]
    assert programs(home) == []
