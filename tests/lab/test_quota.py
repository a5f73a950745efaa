"""What a container may write, limited by a project quota: the build machine's kernel has none."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from trimaran.snapshot import AREA, Snapshotter, snapshotter
from trimaran.state import Database

pytestmark = [pytest.mark.lab, pytest.mark.root]

LIMIT = 4 << 20


@pytest.fixture
def snapshots(tmp_path: Path) -> Iterator[Snapshotter]:
    """On an ext4 file system with project quota."""
    image, root = tmp_path / "image", tmp_path / "root"
    root.mkdir()
    with open(image, "wb") as file:
        file.truncate(64 << 20)
    make = ["mkfs.ext4", "-q", "-O", "quota,project", "-E", "quotatype=prjquota", str(image)]
    subprocess.run(make, check=True)
    subprocess.run(["mount", "-o", "loop,prjquota", str(image), str(root)], check=True)
    database = Database(str(root / "state.db"), [AREA])
    yield snapshotter(str(root), database)
    database.close()
    subprocess.run(["umount", str(root)], check=True)


def fill(snapshots: Snapshotter, container: str, size: int) -> int:
    """Write until there is no room, or SIZE bytes are written; how many were."""
    root = snapshots.open_root(container)
    file = os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=root)
    written = 0
    try:
        while written < size:
            written += os.write(file, bytes(64 << 10))
            os.fsync(file)
    except OSError as error:
        if error.errno not in (errno.EDQUOT, errno.ENOSPC):
            raise
    finally:
        os.close(file)
        os.close(root)
    return written


def test_a_container_cannot_write_more(snapshots: Snapshotter) -> None:
    snapshots.prepare("one", None, quota=LIMIT)
    snapshots.prepare("two", None, quota=2 * LIMIT)
    snapshots.prepare("free", None)
    assert LIMIT // 2 < fill(snapshots, "one", 8 * LIMIT) <= LIMIT
    assert LIMIT < fill(snapshots, "two", 8 * LIMIT) <= 2 * LIMIT
    assert fill(snapshots, "free", 3 * LIMIT) >= 3 * LIMIT
