"""R5: a write to a setting is redirected to another or a false file (CVE-2025-52881, CVE-2019-19921)."""

import subprocess
from pathlib import Path

import pytest
from tests.support.runtimes import Runtime

pytestmark = [pytest.mark.root, pytest.mark.peer("busybox")]
SETTING = "sys/net/ipv4/ping_group_range"


def test_r05_settings_are_written_to_a_true_procfs(runtime: Runtime) -> None:
    config = runtime.configure("sleep", "100")
    # What is mounted on /proc is not procfs, and the file that a string would lead to is a decoy.
    config["mounts"][0] = {"destination": "/proc", "type": "tmpfs", "source": "x", "options": ["tmpcopyup"]}
    config["linux"]["sysctl"] = {"net.ipv4.ping_group_range": "7 8"}
    config["linux"]["maskedPaths"] = config["linux"]["readonlyPaths"] = []
    runtime.write(config)
    decoy = runtime.rootfs / "proc" / SETTING
    decoy.parent.mkdir(parents=True)
    decoy.write_text("decoy")
    assert runtime("run", "-d", "threat-1").returncode == 0
    pid = runtime.state("threat-1")["pid"]
    command = ["nsenter", "-t", str(pid), "-n", "cat", f"/proc/{SETTING}"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert found.split() == ["7", "8"]
    assert runtime("exec", "threat-1", "cat", f"/proc/{SETTING}").stdout == "decoy"


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_r05_procfs_is_not_mounted_through_a_link(runtime: Runtime, host: Path, name: str) -> None:
    runtime.configure("true")
    (runtime.rootfs / name).rmdir()
    (runtime.rootfs / name).symlink_to("/tmp")
    result = runtime("run", "threat-2")
    assert result.returncode == 1
    assert f"/{name}" in result.stderr
