"""R8: a link as working directory creates or changes files on the host."""

import os
from pathlib import Path

import pytest
from tests.support.runtimes import Runtime

pytestmark = [pytest.mark.root, pytest.mark.peer("busybox")]


def test_r08_a_missing_working_directory_is_made_inside(runtime: Runtime, host: Path) -> None:
    before = os.stat(host)
    runtime.configure("true", cwd="/link/made", user={"uid": 1000, "gid": 1000})
    (runtime.rootfs / "link").symlink_to(host)
    runtime("run", "threat-1")
    after = os.stat(host)
    assert os.listdir(host) == ["secret"]
    assert (after.st_uid, after.st_mode) == (before.st_uid, before.st_mode)


def test_r08_a_link_is_resolved_inside(runtime: Runtime, host: Path) -> None:
    runtime.configure("sh", "-c", "pwd", cwd="/link")
    (runtime.rootfs / "link").symlink_to(host)
    (runtime.rootfs / str(host)[1:]).mkdir(parents=True)
    assert runtime("run", "threat-2").stdout == f"{host}\n"
