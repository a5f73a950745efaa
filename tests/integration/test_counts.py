"""The cost of a start, counted and not timed: modules, system calls and instructions have ceilings.

A ceiling is a little above what it is now. Who raises one has a reason for it in the commit.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.bundles import usual_config, write_bundle

pytestmark = [pytest.mark.root, pytest.mark.peer("busybox", "strace", "valgrind")]

BIN = Path(sys.executable).parent
COMMAND = BIN / "trimaran-oci"
SOURCES = Path(__file__).resolve().parents[2] / "src"
START = """import sys
sys.path.append(sys.argv.pop(1))
from trimaran.runtime.command import main
main()"""
# What the standard library's heavier modules would add to each start, in milliseconds: 4 to 16.
HEAVY = {
    *("argparse", "ctypes", "dataclasses", "enum", "functools", "inspect", "json", "logging", "pathlib"),
    *("re", "shutil", "subprocess", "tempfile", "threading", "typing"),
}

STATE_MODULES = 92
STATE_INSTRUCTIONS = 40_000_000
RUN_CALLS = 2000
CONTAINER_CALLS = 600


@pytest.fixture
def oci(tmp_path):
    """The runtime's words that lead it to a state root of its own, and a container ``idle`` that sleeps."""
    write_bundle(tmp_path / "bundle", usual_config("sleep", "1000"))
    root = ["--root", str(tmp_path / "state")]
    run = [COMMAND, *root, "run", "--detach", "--bundle", tmp_path / "bundle", "counts-idle"]
    # No pipe: the container would hold it open.
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    subprocess.run(run, **quiet, check=True)
    yield root
    subprocess.run([COMMAND, *root, "delete", "--force", "counts-idle"], check=True)


def interpreter(*options: str, code: str, arguments: list[str]) -> list[str]:
    return [*options, str(BIN / "python"), "-I", "-S", "-c", code, str(SOURCES), *arguments]


def test_modules_imported_for_state(oci):
    code = START.replace("main()", "try: main()\nfinally: print(*sys.modules, file=sys.stderr)")
    command = interpreter(code=code, arguments=[*oci, "state", "counts-idle"])
    names = subprocess.run(command, capture_output=True, text=True, check=True).stderr.split()
    assert not HEAVY & set(names)
    assert len(names) <= STATE_MODULES, sorted(names)


def instructions(command: list[str]) -> int:
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    done = subprocess.run([*valgrind, *command], capture_output=True, text=True, check=True)
    return int(re.search(r"Collected : (\d+)", done.stderr)[1])


def test_instructions_for_state_beyond_those_of_a_bare_interpreter(oci):
    bare = instructions(interpreter(code="pass", arguments=[]))
    state = instructions(interpreter(code=START, arguments=[*oci, "state", "counts-idle"]))
    assert state - bare <= STATE_INSTRUCTIONS


def calls(trace: Path) -> dict[int, int]:
    """System calls of each process in a trace of ``strace -f``."""
    counts: dict[int, int] = {}
    for line in trace.read_text(errors="replace").splitlines():
        pid, _, rest = line.partition(" ")
        if "resumed>" not in rest and not rest.lstrip().startswith(("+++", "---")):
            counts[int(pid)] = counts.get(int(pid), 0) + 1
    return counts


def test_system_calls_for_a_run(tmp_path):
    write_bundle(tmp_path / "bundle", usual_config("true"))
    run = [COMMAND, "--root", tmp_path / "state", "run", "--bundle", tmp_path / "bundle", "counts-run"]
    subprocess.run(run, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    trace = tmp_path / "trace"
    subprocess.run(
        ["strace", "-f", "-o", trace, *run], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True
    )
    counts = calls(trace)
    engine = min(counts)
    assert sum(counts.values()) <= RUN_CALLS
    assert sum(counts.values()) - counts[engine] <= CONTAINER_CALLS
