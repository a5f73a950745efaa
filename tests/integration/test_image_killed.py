"""SIGKILL at random instants of pulls and removals: the store stays consistent, and nothing leaks.

TRIMARAN_SOAK=1 kills 200 times instead of 20.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import images
from tests.support.registry import Registry, push, registry

from trimaran import Engine

pytestmark = [pytest.mark.root, pytest.mark.peer("docker-registry", "skopeo"), pytest.mark.timeout(900)]

KILLS = 200 if os.environ.get("TRIMARAN_SOAK") else 20
TRIMARAN = os.path.join(os.path.dirname(sys.executable), "trimaran")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    work = tmp_path_factory.mktemp("killed")
    source = random.Random(3)
    layers = [
        images.archive(
            [
                images.directory(f"d{number}"),
                *(images.regular(f"d{number}/f{n}", source.randbytes(20_000)) for n in range(200)),
            ]
        )
        for number in range(4)
    ]
    images.write_layout(str(work / "layout"), layers)
    with registry(str(work / "registry")) as running:
        push(f"{work / 'layout'}:latest", f"{running.host}/big:1")
        yield running


def duration(root: str, *words: str) -> float:
    begin = time.monotonic()
    subprocess.run([TRIMARAN, "--root", root, *words], check=True, capture_output=True)
    return time.monotonic() - begin


def kill_after(seconds: float, root: str, *words: str) -> None:
    """Start the command, and kill it then if it still runs."""
    process = subprocess.Popen(
        [TRIMARAN, "--root", root, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()


def leftovers(root: str) -> list[str]:
    """Blobs, partial downloads, and what is in the directories of layers."""
    content = [str(path) for path in Path(root, "content").rglob("*") if path.is_file()]
    return content + [str(path) for path in Path(root).rglob("d0")]


def test_kills_leave_nothing_half_done(server: Registry, tmp_path: Path) -> None:
    root, name = str(tmp_path / "root"), f"{server.host}/big:1"
    times = {"pull": duration(root, "pull", name), "rmi": duration(root, "rmi", name)}
    instants = random.Random(11)
    interrupted = 0
    for _ in range(KILLS):
        with Engine(root) as engine:
            present = bool(engine.images.list())
        command = "rmi" if present else "pull"
        kill_after(times[command] * instants.uniform(0.05, 1.1), root, command, name)
        with Engine(root) as engine:
            report = engine.images.check()
            assert report.problems == []
            interrupted += bool(engine.images.list()) == present
    assert interrupted, "no kill came before the end: nothing was tested"
    duration(root, "pull", name)
    with Engine(root) as engine:
        assert engine.images.check().sound
        engine.images.prune(all=True)
        assert engine.images.list() == []
        assert list(engine.core.snapshots.layers()) == []
    assert leftovers(root) == []
