"""trimaran bench measures on the user's own machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.engines import engine_with_busybox

pytestmark = [pytest.mark.root, pytest.mark.peer("busybox")]

COMMAND = Path(sys.executable).parent / "trimaran"


def bench(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [COMMAND, "--root", root, "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_every_job_is_measured_and_nothing_is_left(tmp_path: Path) -> None:
    engine = engine_with_busybox(str(tmp_path / "root"))
    with engine:
        done = bench(tmp_path / "root", "--rounds", "2", "--format", "json", "busybox")
        assert done.returncode == 0, done.stderr
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert [row["Samples"] for row in rows] == [2, 2, 2]
        assert all(float(row["Median"].split()[0]) > 0 for row in rows)
        assert engine.containers(all=True) == []


def test_a_command_that_fails_is_not_measured(tmp_path: Path) -> None:
    engine_with_busybox(str(tmp_path / "root")).close()
    done = bench(tmp_path / "root", "busybox", "false")
    assert (done.returncode, done.stdout) == (125, "")
    assert "false in busybox: ended with exit code 1" in done.stderr
