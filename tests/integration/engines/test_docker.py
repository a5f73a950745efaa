"""dockerd runs its containers on trimaran-oci, as an added runtime."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.bundles import make_root

pytestmark = [pytest.mark.root, pytest.mark.peer("dockerd", "docker", "containerd", "busybox")]
COMMAND = Path(sys.executable).parent / "trimaran-oci"
Docker = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """The docker command of a daemon of our own, with an image ``busybox``."""
    base = tmp_path_factory.mktemp("docker")
    (base / "daemon.json").write_text(json.dumps({"runtimes": {"trimaran": {"path": str(COMMAND)}}}))
    environment = {**os.environ, "DOCKER_HOST": f"unix://{base}/docker.sock"}
    arguments = [
        *("--config-file", base / "daemon.json", "--data-root", base / "data", "--exec-root", base / "exec"),
        *("--pidfile", base / "pid", "-H", environment["DOCKER_HOST"], "--storage-driver", "vfs"),
        *("--bridge", "none", "--iptables=false", "--default-runtime", "trimaran"),
    ]
    with (base / "log").open("wb") as log:
        daemon = subprocess.Popen(["dockerd", *arguments], stdout=log, stderr=log)

    def run(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
        command = ["docker", *map(str, words)]
        return subprocess.run(  # type: ignore[call-overload, no-any-return]
            command, env=environment, capture_output=True, text=True, timeout=60, **options
        )

    try:
        deadline = time.monotonic() + 30
        while run("version").returncode:
            assert daemon.poll() is None, (base / "log").read_text()[-3000:]
            assert time.monotonic() < deadline, (base / "log").read_text()[-3000:]
            time.sleep(0.2)
        root = make_root(base / "root")
        archive = subprocess.run(["tar", "c", "-C", root, "."], capture_output=True, check=True).stdout
        (base / "root.tar").write_bytes(archive)
        assert run("import", base / "root.tar", "busybox").returncode == 0
        yield run
    finally:
        for id in run("ps", "-aq").stdout.split():
            run("rm", "-f", id)
        daemon.terminate()
        daemon.wait(20)
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            if str(base) in line:
                subprocess.run(["umount", "-l", line.split()[1]], check=False)


def output(docker: Docker, *words: str) -> str:
    result = docker("run", "--rm", "--network", "none", *words)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def sleeper(docker: Docker) -> Iterator[str]:
    id = docker("run", "-d", "--network", "none", "busybox", "sleep", "100").stdout.strip()
    assert len(id) == 64
    yield id
    docker("rm", "-f", id)


def test_the_runtime_is_ours(docker: Docker, sleeper: str) -> None:
    assert docker("inspect", "-f", "{{.HostConfig.Runtime}}", sleeper).stdout == "trimaran\n"


def test_output_and_exit_codes(docker: Docker) -> None:
    assert output(docker, "busybox", "echo", "hello") == "hello\n"
    commands = (["sh", "-c", "exit 7"], ["missing"], ["/etc/passwd"])
    codes = [docker("run", "--rm", "--network", "none", "busybox", *c).returncode for c in commands]
    assert codes == [7, 127, 126]


def test_user_and_read_only_root(docker: Docker) -> None:
    assert "uid=1000(user) gid=7" in output(docker, "--user", "1000:7", "busybox", "id")
    script = "echo x >/x 2>/dev/null || echo x >/t/x && echo done"
    assert output(docker, "--read-only", "--tmpfs", "/t", "busybox", "sh", "-c", script) == "done\n"


def test_limits(docker: Docker) -> None:
    script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null;"
    script += "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null"
    found = output(docker, "-m", "64m", "--pids-limit", "20", "busybox", "sh", "-c", script + "; true")
    assert found.split() == [str(64 << 20), "20"]


def test_too_much_memory_is_reported(docker: Docker) -> None:
    fill = ["dd", "if=/dev/zero", "of=/dev/shm/x", "bs=1M", "count=50"]
    id = docker("run", "-d", "--network", "none", "-m", "20m", "busybox", *fill).stdout.strip()
    assert docker("wait", id).stdout.strip() == "137"
    assert docker("inspect", "-f", "{{.State.OOMKilled}}", id).stdout == "true\n"


def test_exec(docker: Docker, sleeper: str) -> None:
    assert docker("exec", sleeper, "echo", "in").stdout == "in\n"
    assert "uid=5" in docker("exec", "-u", "5", sleeper, "id").stdout
    assert docker("exec", sleeper, "sh", "-c", "exit 4").returncode == 4
    assert docker("exec", sleeper, "missing").returncode in (126, 127)
    assert docker("exec", "-d", sleeper, "sleep", "50").returncode == 0
    assert "sleep 50" in docker("top", sleeper).stdout


def test_a_terminal(docker: Docker, sleeper: str) -> None:
    words = f"docker exec -it {sleeper} sh -c 'test -t 0 && echo terminal'"
    host = docker("context", "inspect", "-f", "{{.Endpoints.docker.Host}}").stdout.strip()
    result = subprocess.run(
        ["script", "-qec", words, "/dev/null"],
        env={**os.environ, "DOCKER_HOST": host}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "terminal" in result.stdout


def test_pause_update_stop_and_start_again(docker: Docker, sleeper: str) -> None:
    def status() -> str:
        return docker("inspect", "-f", "{{.State.Status}}", sleeper).stdout.strip()

    assert docker("pause", sleeper).returncode == 0
    assert status() == "paused"
    assert docker("unpause", sleeper).returncode == 0
    assert status() == "running"
    assert docker("update", "--memory", "100m", "--memory-swap", "200m", sleeper).returncode == 0
    stats = docker("stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", sleeper).stdout
    assert re.search(r"/ 100MiB 1$", stats.strip())
    assert docker("stop", "-t", "1", sleeper).returncode == 0
    assert status() == "exited"
    assert docker("start", sleeper).returncode == 0
    assert status() == "running"
    assert docker("kill", sleeper).returncode == 0


def test_privileged_and_devices(docker: Docker) -> None:
    script = "test -c /dev/fuse && echo yes"
    assert output(docker, "--privileged", "busybox", "sh", "-c", script) == "yes\n"
    assert output(docker, "--device", "/dev/fuse", "busybox", "sh", "-c", script) == "yes\n"
    assert docker("run", "--rm", "--network", "none", "busybox", "sh", "-c", script).returncode == 1
