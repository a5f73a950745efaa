"""Two root directories at once, and what is left on the host when their containers have been removed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.engines import BUSYBOX, engine_with_busybox

pytestmark = pytest.mark.root
TRIMARAN = Path(sys.executable).parent / "trimaran"


def processes(roots: list[str]) -> set[str]:
    """Command lines that name one of the roots, and monitors."""
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            line = (entry / "cmdline").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if line.startswith("trimaran-monitor") or any(root in line for root in roots):
            found.add(f"{entry.name} {line}")
    return found


def namespaces() -> set[str]:
    """Every namespace that a process is in."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/ns/*"):
        try:
            found.add(os.readlink(path))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            # Gone meanwhile, or not ours to look into.
            continue
    return found


def traces(roots: list[str]) -> dict[str, set[str]]:
    """All that containers can leave: mounts, cgroups, namespaces, processes, files besides the image."""
    return {
        "mounts": {
            line for line in Path("/proc/self/mountinfo").read_text().splitlines() if "trimaran" in line
        },
        "cgroups": {d for d, _, _ in os.walk("/sys/fs/cgroup") if "/trimaran/" in d},
        "namespaces": namespaces(),
        "processes": processes(roots),
        "files": {
            os.path.join(d, name)
            for root in roots
            for d, directories, files in os.walk(root)
            for name in [*directories, *files]
            if "/layers" not in d and not name.startswith(("state.db", "supervisor", "layers"))
        },
    }


def trimaran(*words: str, **environment: str) -> str:
    done = subprocess.run(
        [TRIMARAN, *words], capture_output=True, text=True, timeout=60, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_roots_know_nothing_of_each_other_and_leave_nothing(tmp_path):
    roots = [str(tmp_path / "first"), str(tmp_path / "second")]
    for root in roots:
        engine_with_busybox(root).close()
        trimaran("--root", root, "run", "--rm", "--network=none", BUSYBOX, "true")
    before = traces(roots)
    words = ("run", "-d", "--name=same", "--network=none", BUSYBOX, "sleep", "60")
    first = trimaran("--root", roots[0], *words).strip()
    second = trimaran(*words, TRIMARAN_ROOT=roots[1]).strip()
    assert first != second
    assert trimaran("--root", roots[0], "ps", "-q", "--no-trunc").split() == [first]
    assert trimaran("ps", "-q", "--no-trunc", TRIMARAN_ROOT=roots[1]).split() == [second]
    during = traces(roots)
    assert all(during[kind] > before[kind] for kind in ("cgroups", "namespaces", "processes", "files"))
    trimaran("--root", roots[0], "rm", "-f", "same")
    trimaran("rm", "-f", "same", TRIMARAN_ROOT=roots[1])
    end = time.monotonic() + 10
    while (left := difference(before, traces(roots))) and time.monotonic() < end:
        time.sleep(0.1)
    assert not left


def difference(before: dict[str, set[str]], after: dict[str, set[str]]) -> dict[str, set[str]]:
    return {kind: after[kind] - before[kind] for kind in before if after[kind] - before[kind]}
