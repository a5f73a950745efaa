"""S3: when the supervisor dies, so does everything in its sandbox; and it is jailed while it lives."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from tests.support import sandboxes

from trimaran.sandbox.client import Supervisor

pytestmark = pytest.mark.peer("busybox")


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"


@pytest.mark.parametrize(
    "script", ["while :; do :; done", "sleep 1000", "trap '' TERM HUP; while :; do sleep 1; done"]
)
def test_a_killed_supervisor_takes_its_sandbox_along(script: str) -> None:
    with sandboxes.box() as box:
        box.create(["sh", "-c", f"({script}) & {script}"], start=True)
        time.sleep(0.3)
        pids = box.hull.processes("box")
        assert len(pids) >= 2
        os.kill(Supervisor(str(box.directory / "hull/box")).identity()[0], signal.SIGKILL)
        deadline = time.monotonic() + 5
        while not all(map(gone, pids)):
            assert time.monotonic() < deadline, pids
            time.sleep(0.01)
        assert box.hull.status("box") == "stopped"
        box.hull.delete("box")


def test_the_supervisor_is_jailed() -> None:
    with sandboxes.box() as box:
        process = box.create(["sleep", "1000"], start=True)
        pid = Supervisor(str(box.directory / "hull/box")).identity()[0]
        facts = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if ":\t" in line
        )
        over_files = 0b11011
        for name in ("CapEff", "CapPrm", "CapBnd"):
            assert int(facts[name], 16) & ~over_files == 0, name
        assert facts["NoNewPrivs"] == "1"
        assert facts["Seccomp"] == "2"
        assert sorted(os.listdir(f"/proc/{pid}/root")) == ["dev", "proc", "tmp"]
        for namespace in ("user", "mnt", "net"):
            assert os.readlink(f"/proc/{pid}/ns/{namespace}") != os.readlink(f"/proc/self/ns/{namespace}")
        inside = f"/proc/{process.pid}"
        assert os.listdir(f"{inside}/root") == ["stub"]
        assert (
            int(
                dict(
                    line.split(":\t", 1)
                    for line in Path(f"{inside}/status").read_text().splitlines()
                    if ":\t" in line
                )["CapBnd"],
                16,
            )
            == 0
        )
        # The program's file has a descriptor for as long as it is being mapped.
        deadline = time.monotonic() + 5
        while os.listdir(f"{inside}/fd"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for namespace in ("user", "mnt", "net", "pid", "ipc", "uts", "cgroup"):
            assert os.readlink(f"{inside}/ns/{namespace}") != os.readlink(f"/proc/self/ns/{namespace}")
