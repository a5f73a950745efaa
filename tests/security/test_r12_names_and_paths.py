"""R12: a container's id, cgroup or bundle leads out of where it belongs."""

import os
from pathlib import Path

import pytest
from tests.support.runtimes import Runtime

pytestmark = [pytest.mark.root, pytest.mark.peer("busybox")]
NAMES = ["", ".", "..", "../x", "a/b", "/etc", "a b", "a\nb", "ä", "x" * 300, "x" * 100_000]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:8] or "empty")
@pytest.mark.parametrize("command", ["create", "state", "delete", "kill", "exec"])
def test_r12_ids(runtime: Runtime, command: str, name: str) -> None:
    runtime.configure("true")
    before = sorted(os.listdir(runtime.root.parent))
    words = {"exec": ["true"], "kill": ["TERM"]}.get(command, [])
    result = runtime(command, "--", name, *words)
    assert result.returncode in (1, 255)
    assert len(result.stderr) < 1000
    assert sorted(set(os.listdir(runtime.root.parent)) - {"state"}) == [n for n in before if n != "state"]
    assert not runtime.root.exists() or os.listdir(runtime.root) == []


@pytest.mark.parametrize("path", ["/../x", "a/../../b", "/", "//", "/."])
def test_r12_cgroup_paths(runtime: Runtime, path: str) -> None:
    config = runtime.configure("true")
    config["linux"]["cgroupsPath"] = path
    runtime.write(config)
    result = runtime("run", "threat-1")
    assert result.returncode == 1
    assert "cgroupsPath" in result.stderr


def test_r12_a_cgroup_that_others_are_in(runtime: Runtime) -> None:
    config = runtime.configure("sleep", "100")
    config["linux"]["cgroupsPath"] = "/threat-shared"
    runtime.write(config)
    assert runtime("run", "-d", "threat-2").returncode == 0
    assert "is not the container's alone" in runtime("create", "threat-3").stderr
    assert runtime.state("threat-2")["status"] == "running"


def test_r12_the_state_root_belongs_to_its_owner(runtime: Runtime) -> None:
    runtime.configure("true")
    runtime("create", "threat-4")
    assert Path(runtime.root).stat().st_mode & 0o777 == 0o700
