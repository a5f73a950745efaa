"""R4: /dev/console or /dev/pts/N is a link while the terminal is bound (CVE-2025-52565)."""

import socket
from pathlib import Path

import pytest
from tests.support.runtimes import Runtime

pytestmark = [pytest.mark.root, pytest.mark.peer("busybox")]


@pytest.mark.parametrize("name", ["dev/console", "dev/pts/ptmx", "dev/pts"])
def test_r04_links_in_the_image_are_not_followed(runtime: Runtime, host: Path, name: str) -> None:
    config = runtime.configure("sh", "-c", "echo written > /dev/console", terminal=True)
    config["mounts"] = [mount for mount in config["mounts"] if mount["destination"] == "/proc"]
    if name == "dev/console":
        config["mounts"].append({"destination": "/dev/pts", "type": "devpts", "source": "devpts"})
    runtime.write(config)
    link = runtime.rootfs / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(host / "secret" if name != "dev/pts" else host)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(runtime.bundle / "console"))
        listener.listen()
        result = runtime("create", "--console-socket", runtime.bundle / "console", "threat-1")
    assert result.returncode == 1
    assert (host / "secret").read_text() == "of the host"
