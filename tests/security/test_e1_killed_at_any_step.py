"""E1: SIGKILL at each step of each operation, enumerated: the next look repairs, and nothing leaks.

A step is a statement that the engine gives to its database: every effect on the host lies between two of
them. The process is killed just before the first, then before the second, and so on, until it gets through.
"""

import os
import signal
import subprocess
import sys
import time

import pytest
from tests.support.engines import BUSYBOX, engine_with_busybox

from trimaran import Engine
from trimaran.errors import NotFound

pytestmark = pytest.mark.root

PROGRAM = """
import os, signal, sys
import trimaran

root, last = sys.argv[1], int(sys.argv[2])
engine = trimaran.Engine(root)
count = 0

def step(statement):
    global count
    count += 1
    if count == last:
        os.kill(os.getpid(), signal.SIGKILL)

engine.core.database.connection().set_trace_callback(step)
"""
OPERATIONS = {
    "run": "engine.run('busybox', ['sh', '-c', 'exit 3'], network='none', name='x')",
    "start": "engine.start('busybox', ['sleep', '60'], network='none', name='x')",
    "remove": "engine.get('x').remove(force=True)",
    "stop": "engine.get('x').stop(timeout=0)",
}
MOST_STEPS = 200


def left_behind(engine: Engine) -> dict[str, object]:
    root = engine.core.paths.root
    connection = engine.core.database.connection()
    ids = {row[0] for row in connection.execute("SELECT DISTINCT actor FROM event")}
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        mounts = [line for line in file if root in line]
    return {
        "mounts": mounts,
        "cgroups": [d for d, _, _ in os.walk("/sys/fs/cgroup") if os.path.basename(d) in ids],
        "monitors": [pid for pid in os.listdir("/proc") if pid.isdigit() and _is_monitor(pid, ids)],
        "directories": sorted(os.listdir(engine.core.paths.containers)),
        "states": sorted(os.listdir(engine.core.paths.running)),
        "rows": connection.execute("SELECT count(*) FROM container").fetchone()[0],
        "snapshots": list(engine.core.snapshots.containers()),
        "intents": connection.execute("SELECT kind FROM intent").fetchall(),
    }


def _is_monitor(pid: str, ids: set[str]) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
            words = file.read().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return len(words) > 1 and words[0] == "trimaran-monitor" and words[1] in ids


def settled(root: str, wanted: dict[str, object]) -> dict[str, object]:
    """What is left once an engine has repaired what it found, and monitors have had a moment to end."""
    deadline = time.monotonic() + 15
    while True:
        with Engine(root) as engine:
            for container in engine.containers(all=True):
                if container.name == "x":
                    container.remove(force=True)
            now = left_behind(engine)
        if now == wanted or time.monotonic() > deadline:
            return now
        time.sleep(0.05)


def killed(root: str, operation: str, step: int) -> bool:
    """Whether the operation was killed; else it is done."""
    program = PROGRAM + OPERATIONS[operation]
    done = subprocess.run(
        [sys.executable, "-c", program, root, str(step)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


@pytest.mark.timeout(240)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_at_each_step(tmp_path, operation):
    root = str(tmp_path / "root")
    engine_with_busybox(root).close()
    with Engine(root) as engine:
        wanted = left_behind(engine)
    for step in range(1, MOST_STEPS):
        if operation in ("remove", "stop"):
            with Engine(root) as engine:
                engine.start(BUSYBOX, ["sleep", "60"], network="none", name="x")
        was_killed = killed(root, operation, step)
        assert settled(root, wanted) == wanted, f"{operation}, step {step}"
        if not was_killed:
            assert step > 5
            return
    raise AssertionError("it never got through")


def test_exit_in_the_meantime_is_recorded_with_its_code_and_time(tmp_path):
    root = str(tmp_path / "root")
    engine_with_busybox(root).close()
    program = PROGRAM + "engine.start('busybox', ['sh', '-c', 'exit 7'], network='none', name='x')"
    assert subprocess.run([sys.executable, "-c", program, root, "0"], check=False).returncode == 0
    before = time.time_ns()
    time.sleep(0.5)
    with Engine(root) as engine:
        record = engine.get("x").record
        assert (record.state, record.exit_code) == ("exited", 7)
        assert record.finished < before + 5e8
        engine.get("x").remove()
        with pytest.raises(NotFound):
            engine.get("x")
