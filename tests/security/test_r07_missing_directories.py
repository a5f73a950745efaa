"""R7: creating missing directories follows a link to the host (CVE-2024-45310)."""

import os
from pathlib import Path

import pytest
from tests.support.runtimes import Runtime

pytestmark = [pytest.mark.root, pytest.mark.peer("busybox")]


@pytest.mark.parametrize("kind", ["directory", "file"])
def test_r07_missing_targets_are_made_inside(runtime: Runtime, host: Path, tmp_path: Path, kind: str) -> None:
    source = tmp_path / "source"
    if kind == "directory":
        source.mkdir()
    else:
        source.write_text("x")
    config = runtime.configure("true")
    config["mounts"].append({"destination": "/link/new/deep", "source": str(source), "options": ["bind"]})
    runtime.write(config)
    (runtime.rootfs / "link").symlink_to(host)
    runtime("run", "threat-1")
    assert os.listdir(host) == ["secret"]


def test_r07_devices_are_made_inside(runtime: Runtime, host: Path) -> None:
    config = runtime.configure("true")
    config["linux"]["devices"] = [{"path": "/link/new/null", "type": "c", "major": 1, "minor": 3}]
    runtime.write(config)
    (runtime.rootfs / "link").symlink_to(host)
    runtime("run", "threat-2")
    assert os.listdir(host) == ["secret"]
