"""A machine takes over the interface that is put into its network namespace."""

import os
import subprocess
import time

import pytest
from tests.integration.vm.conftest import finished
from tests.support.bundles import BUSYBOX

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]


def command(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=30).stdout


@pytest.fixture
def outside():
    """A network namespace that stands for the host."""
    name = f"vmtest{os.getpid()}"
    command("ip", "netns", "add", name)
    yield name
    command("ip", "netns", "delete", name)


def attach(outside: str, pid: int) -> None:
    """What an engine does between create and start."""
    inside = ["nsenter", "-t", str(pid), "-n", "ip"]
    outer = ["ip", "-n", outside]
    command(*outer, "link", "add", "host0", "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    command(*outer, "addr", "add", "10.98.0.1/24", "dev", "host0")
    command(*outer, "link", "set", "host0", "up")
    command(*inside, "link", "set", "eth0", "mtu", "1400")
    command(*inside, "addr", "add", "10.98.0.2/24", "dev", "eth0")
    command(*inside, "link", "set", "eth0", "up")
    command(*inside, "route", "add", "default", "via", "10.98.0.1")


def test_the_guest_has_the_interface_and_its_routes(containers, outside):
    script = "cat /sys/class/net/eth0/mtu; grep -c 0100620A /proc/net/route; busybox httpd -f -p 8080 -h /etc"
    id, state = containers.create("sh", "-c", script, start=False)
    attach(outside, containers.process.pid)
    containers.hull.start(id)
    deadline = time.monotonic() + 20
    fetch = ["ip", "netns", "exec", outside, BUSYBOX, "wget", "-q", "-O", "-", "http://10.98.0.2:8080/passwd"]
    while True:
        result = subprocess.run(fetch, capture_output=True, text=True, timeout=30, check=False)
        if result.returncode == 0:
            break
        assert time.monotonic() < deadline, result.stderr
        time.sleep(0.1)
    assert result.stdout.startswith("root:")
    containers.hull.kill(id, 9)
    assert finished(state) == (137, "1400\n1\n")


def test_without_an_interface_there_is_the_loopback_only(containers):
    _, output = containers.run(
        "sh", "-c", "ls /sys/class/net; cat /sys/class/net/lo/operstate; cat /proc/net/route"
    )
    assert output.split()[:2] == ["lo", "unknown"]
    assert "eth0" not in output
