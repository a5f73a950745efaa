"""containerd's runc shim drives trimaran-oci (its option for the runtime's binary)."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.bundles import make_root

pytestmark = [pytest.mark.root, pytest.mark.peer("containerd", "ctr", "busybox")]
COMMAND = Path(sys.executable).parent / "trimaran-oci"
Ctr = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def ctr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ctr]:
    """The ctr command of a containerd of our own."""
    base = tmp_path_factory.mktemp("containerd")
    config = base / "config.toml"
    config.write_text(
        f'version = 2\nroot = "{base}/root"\nstate = "{base}/state"\n'
        'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        f'[grpc]\naddress = "{base}/c.sock"\n[ttrpc]\naddress = "{base}/c.sock.ttrpc"\n'
    )
    with (base / "log").open("wb") as log:
        daemon = subprocess.Popen(["containerd", "--config", config], stdout=log, stderr=log)

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = ["ctr", "--address", base / "c.sock", *words]
        return subprocess.run(
            list(map(str, command)), capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
        )

    try:
        deadline = time.monotonic() + 30
        while run("version").returncode:
            assert daemon.poll() is None, (base / "log").read_text()[-3000:]
            assert time.monotonic() < deadline, (base / "log").read_text()[-3000:]
            time.sleep(0.2)
        make_root(base / "image")
        run.image = base / "image"  # type: ignore[attr-defined]
        yield run
    finally:
        for id in run("tasks", "list", "-q").stdout.split():
            run("tasks", "kill", "-s", "SIGKILL", id)
            run("tasks", "delete", "-f", id)
        daemon.terminate()
        daemon.wait(20)


def container(ctr: Ctr, *words: object) -> tuple[object, ...]:
    return ("run", *words, "--runc-binary", COMMAND, "--rootfs", ctr.image)  # type: ignore[attr-defined]


def test_output_and_exit_code(ctr: Ctr) -> None:
    result = ctr(*container(ctr, "--rm"), "one", "sh", "-c", "echo hello; exit 3")
    assert (result.returncode, result.stdout) == (3, "hello\n"), result.stderr


def test_life_of_a_task(ctr: Ctr) -> None:
    made = ctr(*container(ctr, "-d"), "two", "sleep", "100")
    assert made.returncode == 0, made.stderr
    try:
        assert ctr("tasks", "exec", "--exec-id", "e", "two", "echo", "in").stdout == "in\n"
        assert ctr("tasks", "pause", "two").returncode == 0
        assert "PAUSED" in ctr("tasks", "list").stdout
        assert ctr("tasks", "resume", "two").returncode == 0
        assert "RUNNING" in ctr("tasks", "list").stdout
        metrics = ctr("tasks", "metrics", "two")
        assert metrics.returncode == 0, metrics.stderr
        assert len(ctr("tasks", "ps", "two").stdout.splitlines()) == 2
    finally:
        assert ctr("tasks", "kill", "-s", "SIGKILL", "two").returncode == 0
        deadline = time.monotonic() + 10
        while "STOPPED" not in ctr("tasks", "list").stdout and time.monotonic() < deadline:
            time.sleep(0.1)
        assert "137" in ctr("tasks", "delete", "two").stderr
        ctr("containers", "delete", "two")
