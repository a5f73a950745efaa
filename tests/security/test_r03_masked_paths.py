"""R3: /dev/null in the image is a link while paths are masked (CVE-2025-31133)."""

import pytest
from tests.support.runtimes import Runtime

pytestmark = [pytest.mark.root, pytest.mark.peer("busybox")]


@pytest.mark.parametrize("target", ["/proc/sys/kernel/core_pattern", "/etc/passwd", "/nothing"])
def test_r03_only_the_null_device_masks(runtime: Runtime, target: str) -> None:
    config = runtime.configure("cat", "/secret")
    # Without a mount on /dev, the image's own /dev is used.
    config["mounts"] = [mount for mount in config["mounts"] if not mount["destination"].startswith("/dev")]
    config["linux"]["maskedPaths"] = ["/secret"]
    runtime.write(config)
    (runtime.rootfs / "secret").write_text("hidden")
    (runtime.rootfs / "dev/null").symlink_to(target)
    result = runtime("run", "threat-1")
    assert result.returncode == 1
    assert "null device" in result.stderr or "/dev/null" in result.stderr
    assert "hidden" not in result.stdout


def test_r03_masked_files_are_empty_and_directories_too(runtime: Runtime) -> None:
    config = runtime.configure("sh", "-c", "cat /file; ls /directory; echo end")
    config["linux"]["maskedPaths"] = ["/file", "/directory", "/missing"]
    runtime.write(config)
    (runtime.rootfs / "file").write_text("hidden")
    (runtime.rootfs / "directory").mkdir()
    (runtime.rootfs / "directory/entry").write_text("hidden")
    assert runtime("run", "threat-2").stdout == "end\n"
