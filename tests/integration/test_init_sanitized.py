"""trimaran-init with address and undefined-behaviour sanitizers makes containers without a complaint."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.bundles import usual_config, write_bundle

from trimaran.runtime import creating, launch, lifecycle
from trimaran.runtime.creating import CreateOptions
from trimaran.runtime.store import Store

pytestmark = [pytest.mark.root, pytest.mark.peer("busybox")]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def sanitized(tmp_path, monkeypatch):
    """The program with sanitizers, in place of the usual one for this test."""
    package = tmp_path / "package"
    subprocess.run([sys.executable, ROOT / "native/build.py", package, "--sanitize"], check=True)
    monkeypatch.setattr(launch, "PROGRAMS", str(package / "_bin"))
    monkeypatch.setattr(launch, "_executable", -1)


def run(tmp_path: Path, id: str, config: dict) -> tuple[int, str]:
    bundle = write_bundle(tmp_path / id, config)
    store = Store(str(tmp_path / "state"))
    with (tmp_path / f"{id}.out").open("w+b") as output:
        fd = output.fileno()
        launched, _ = creating.create(store, id, str(bundle), CreateOptions(stdio=(0, fd, fd)))
        try:
            lifecycle.start(store, id)
            code = launch._sys.reap(launched.children[-1], True)
        finally:
            launch.discard(launched)
            lifecycle.delete(store, id, force=True)
        output.seek(0)
        return code, output.read().decode()


def test_a_usual_container(sanitized, tmp_path):
    config = usual_config("sh", "-c", "echo $HOME; ls /dev | wc -l; exit 3", user={"uid": 1000, "gid": 1000})
    config["hooks"] = {
        "createRuntime": [{"path": "/bin/cat", "timeout": 5}],
        "startContainer": [{"path": "/bin/true"}],
    }
    config["mounts"].append({"destination": "/new/place", "source": "/etc", "options": ["rbind", "rro"]})
    config["linux"]["sysctl"] = {"kernel.domainname": "d"}
    code, output = run(tmp_path, "sanitized-usual", config)
    assert (code, output.splitlines()[0]) == (3, "/home/user")
    assert "Sanitizer" not in output


def test_a_failure_is_reported(sanitized, tmp_path):
    config = usual_config("true")
    config["mounts"].append({"destination": "/x", "source": "/nothing/there", "options": ["bind"]})
    from trimaran.errors import TrimaranError

    with pytest.raises(TrimaranError, match=r"mounts\[4\]"):
        run(tmp_path, "sanitized-failure", config)
