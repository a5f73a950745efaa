"""S1: whatever a sandboxed process calls, the host's kernel acts on nothing but that process itself."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.support import sandboxes

from trimaran.isolation import Root
from trimaran.sandbox.policy import NATIVE, STUB_CALLS

SOAK = os.environ.get("TRIMARAN_SOAK") == "1"
SECONDS = 600 if SOAK else 8
SOURCE = Path(__file__).parent / "fuzz_calls.c"

pytestmark = [pytest.mark.peer("busybox", "gcc"), pytest.mark.timeout(SECONDS + 120)]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Root:
    directory = tmp_path_factory.mktemp("image")
    sandboxes.bundles.make_root(directory / "root")
    fuzzer = directory / "root/bin/fuzz"
    subprocess.run(["gcc", "-O1", "-static", "-o", str(fuzzer), str(SOURCE)], check=True)
    return Root(lower=(str(directory / "root"),))


def tree(path: str) -> list[tuple[str, int, int, int]]:
    """Everything in a directory, with what a write would change."""
    found = []
    for where, _directories, files in os.walk(path):
        for name in files:
            info = os.lstat(os.path.join(where, name))
            found.append((os.path.join(where, name), info.st_mode, info.st_size, info.st_mtime_ns))
    return sorted(found)


def test_random_calls_neither_end_the_supervisor_nor_reach_the_host(image: Root, tmp_path: Path) -> None:
    canary = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "file").write_text("kept")
    before = tree(image.lower[0]), tree(str(volume)), os.uname()
    mounts = [{"destination": "/volume", "type": "bind", "source": str(volume), "options": ["rbind", "ro"]}]
    try:
        with sandboxes.box() as box:
            seed = int(time.time())
            result = box.run(
                ["fuzz", str(SECONDS), str(seed)], root=image, timeout=SECONDS + 60, change={"mounts": mounts}
            )
            assert result.returncode == 0, (seed, result.stderr[-500:], box.log[-2000:])
            assert result.stdout.rpartition("started ")[1]
            assert "fault in" not in box.log, (seed, [x for x in box.log.splitlines() if "fault" in x][:5])
        assert canary.poll() is None
        assert os.getpriority(os.PRIO_PROCESS, canary.pid) == os.getpriority(os.PRIO_PROCESS, 0)
        assert (tree(image.lower[0]), tree(str(volume)), os.uname()) == before
    finally:
        canary.send_signal(signal.SIGKILL)
        canary.wait()


def test_native_calls_take_no_name_and_no_descriptor() -> None:
    """No call of the table can name a file or socket: the table is all that the filter allows."""
    forbidden = re.compile(
        r"open|^read|write|stat|socket|connect|bind|accept|send|recv|link|rename|mount|chmod|chown|ioctl|xattr"
    )
    assert [name for name in NATIVE if forbidden.search(name)] == []
    assert set(STUB_CALLS) == {"execve", "mmap", "close_range"}
