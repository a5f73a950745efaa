"""R6: a mount target is swapped for a link between check and use (CVE-2021-30465)."""

import os
import threading
from pathlib import Path

import pytest
from tests.support.runtimes import Runtime

pytestmark = [pytest.mark.root, pytest.mark.peer("busybox")]


def test_r06_a_link_as_target_stays_inside(runtime: Runtime, host: Path, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "file").write_text("of the volume")
    config = runtime.configure("cat", f"{host}/file")
    config["mounts"].append({"destination": "/data", "source": str(volume), "options": ["bind"]})
    runtime.write(config)
    (runtime.rootfs / "data").symlink_to(host)
    (runtime.rootfs / str(host)[1:]).mkdir(parents=True)
    assert runtime("run", "threat-1").stdout == "of the volume"
    assert os.listdir(host) == ["secret"]


def test_r06_a_target_that_is_swapped_all_the_time(runtime: Runtime, host: Path) -> None:
    config = runtime.configure("sh", "-c", "echo mark > /swap/data/mark; true")
    config["mounts"].append({"destination": "/swap/data", "type": "tmpfs", "source": "t"})
    runtime.write(config)
    (host / "data").mkdir()
    (runtime.rootfs / "real/data").mkdir(parents=True)
    done = threading.Event()

    def swap() -> None:
        """The name is always there, and leads inside and outside in turn."""
        while not done.is_set():
            for target in ("real", str(host)):
                (runtime.rootfs / "next").symlink_to(target)
                os.replace(runtime.rootfs / "next", runtime.rootfs / "swap")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for number in range(15):
            runtime("run", f"threat-2-{number}")
            assert os.listdir(host / "data") == []
    finally:
        done.set()
        thread.join()
