"""Podman runs its containers on trimaran-oci (``podman --runtime``)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.bundles import make_root

pytestmark = [pytest.mark.root, pytest.mark.peer("podman", "conmon", "busybox")]
COMMAND = Path(sys.executable).parent / "trimaran-oci"
Podman = Callable[..., subprocess.CompletedProcess[str]]
# Without CAP_SYS_RESOURCE Podman's own defaults cannot be had.
USUAL = ("--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """The podman command on stores of its own, with an image ``busybox``."""
    base = tmp_path_factory.mktemp("podman")

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = [
            *("podman", "--root", base / "root", "--runroot", base / "run", "--storage-driver", "vfs"),
            *("--tmpdir", base / "tmp", "--events-backend", "file", "--cgroup-manager", "cgroupfs"),
            *("--runtime", COMMAND, *words),
        ]
        return subprocess.run(
            list(map(str, command)), capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
        )

    root = make_root(base / "image")
    subprocess.run(["tar", "cf", base / "image.tar", "-C", root, "."], check=True)
    imported = run("import", base / "image.tar", "busybox")
    assert imported.returncode == 0, imported.stderr
    yield run
    run("rm", "-af", "-t", "0")
    run("rmi", "-af")
    run("unshare", "true")
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        if str(base) in line:
            subprocess.run(["umount", "-l", line.split()[1]], check=False)


def test_output_and_exit_codes(podman: Podman) -> None:
    hello = podman("run", "--rm", *USUAL, "busybox", "echo", "hello")
    assert hello.stdout == "hello\n", hello.stderr
    commands = (["sh", "-c", "exit 7"], ["missing"], ["/etc/passwd"])
    codes = [podman("run", "--rm", *USUAL, "busybox", *c).returncode for c in commands]
    assert codes == [7, 127, 126]


def test_a_user_namespace(podman: Podman) -> None:
    result = podman(
        "run", "--rm", *USUAL, "--uidmap", "0:100000:1000", "busybox", "cat", "/proc/self/uid_map"
    )
    assert result.stdout.split() == ["0", "100000", "1000"], result.stderr


def test_limits(podman: Podman) -> None:
    script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true"
    result = podman("run", "--rm", *USUAL, "-m", "64m", "busybox", "sh", "-c", script)
    assert result.stdout.strip() == str(64 << 20), result.stderr


def test_life_of_a_container(podman: Podman) -> None:
    def status() -> str:
        return podman("inspect", "-f", "{{.State.Status}}", "life").stdout.strip()

    made = podman("run", "-d", "--name", "life", *USUAL, "busybox", "sleep", "100")
    assert made.returncode == 0, made.stderr
    assert status() == "running"
    assert podman("exec", "life", "echo", "in").stdout == "in\n"
    assert podman("exec", "life", "missing").returncode == 127
    assert podman("pause", "life").returncode == 0
    assert status() == "paused"
    assert podman("unpause", "life").returncode == 0
    assert podman("kill", "life").returncode == 0
    assert podman("wait", "life").stdout.strip() == "137"
    assert podman("rm", "life").returncode == 0
