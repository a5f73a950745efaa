"""Programming a sandbox: hooks, and the features that are built on them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.sandboxes import Box

pytestmark = pytest.mark.peer("busybox")


def program(tmp_path: Path, text: str) -> dict[str, str]:
    """The options of a sandbox with a program; ``OUT`` in its text is a file that it may write."""
    file = tmp_path / "program.py"
    file.write_text(text.replace("OUT", repr(str(tmp_path / "out"))))
    return {"sandbox.program": str(file)}


def test_a_hook_denies_explains_and_replaces(box: Box, tmp_path: Path) -> None:
    options = program(
        tmp_path,
        """
import errno
from trimaran.sandbox.hooks import deny, replace
def hooks(hooks):
    hooks.files(lambda call: deny(errno.EACCES, "it is secret") if call.path == b"/etc/passwd" else None)
    hooks.before("getuid", lambda call: replace(4711))
    hooks.after("chdir", lambda call, result: -errno.EIO if call.path == b"/tmp" else None)
""",
    )
    result = box.run(["sh", "-c", "cat /etc/passwd; id -u; cd /tmp; cd /etc && pwd"], options=options)
    assert "Permission denied" in result.stderr
    assert "4711" in result.stdout
    assert "can't cd to /tmp" in result.stderr
    assert result.stdout.endswith("/etc\n")
    assert "openat(/etc/passwd)" in box.log or "open(/etc/passwd)" in box.log
    assert "it is secret" in box.log


def test_the_nth_write_fails(box: Box, tmp_path: Path) -> None:
    options = program(
        tmp_path,
        """
import errno
from trimaran.sandbox.features.faults import Fault
def hooks(hooks):
    Fault(hooks, "write", errno.ENOSPC, first=2, matching=lambda c: c.program == "sh" and c.args[0] == 1)
""",
    )
    result = box.run(["sh", "-c", "echo 1 >/a; echo 2 >/b; echo 3 >/c; cat /a /b /c"], options=options)
    assert result.stdout == "1\n3\n"
    assert "No space left" in result.stderr


def test_a_record_replays_and_shows_where_a_run_differs(box: Box, tmp_path: Path) -> None:
    record = """
from trimaran.sandbox.features.record import Recorder
def hooks(hooks):
    global file
    file = open(OUT, "w", errors="surrogateescape")
    Recorder(hooks, file)
def finished(kernel):
    file.close()
"""
    replay = """
from trimaran.sandbox.features.record import Replayer
def hooks(hooks):
    global replayer, result
    with open(OUT, errors="surrogateescape") as file:
        replayer = Replayer(hooks, file)
    result = open(OUT + ".result", "w")
def finished(kernel):
    result.write(f"{replayer.difference}"); result.close()
"""
    same, other = ["sh", "-c", "cat /etc/passwd; exit 2"], ["sh", "-c", "cat /etc/group; exit 2"]
    assert box.run(same, options=program(tmp_path, record)).returncode == 2
    lines = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert any(line.get("path") == "/etc/passwd" and line["result"] >= 0 for line in lines[1:])
    box.run(same, options=program(tmp_path, replay))
    assert (tmp_path / "out.result").read_text() == "None"
    box.run(other, options=program(tmp_path, replay))
    assert "/etc/group" in (tmp_path / "out.result").read_text()


def test_least_privilege_is_learnt(box: Box, tmp_path: Path) -> None:
    options = program(
        tmp_path,
        """
import json
from trimaran.sandbox.features.learn import Learner
def hooks(hooks):
    global learner, out
    learner, out = Learner(hooks), open(OUT, "w")
def finished(kernel):
    json.dump({"seccomp": learner.seccomp(), "network": learner.network()}, out); out.close()
""",
    )
    box.run(["sh", "-c", "mkdir /d; echo x > /d/f"], options=options)
    learnt = json.loads((tmp_path / "out").read_text())
    names = learnt["seccomp"]["syscalls"][0]["names"]
    assert {"mkdir", "write", "execve", "mmap"} <= set(names)
    assert not {"mount", "ptrace", "socket", "unlink"} & set(names)
    assert learnt["network"] == []


@pytest.mark.parametrize(
    ("limits", "script", "name"),
    [
        ("cpu_seconds=0.3", "while :; do :; done", "CPU seconds"),
        (
            "written=100000",
            "while :; do echo 0123456789012345678901234567890123456789; done",
            "bytes written",
        ),
        ("calls=500", "while :; do cd /; done", "calls"),
    ],
)
def test_a_budget_ends_the_run(box: Box, tmp_path: Path, limits: str, script: str, name: str) -> None:
    text = f"""
from trimaran.sandbox.features.budget import Budget
def hooks(hooks):
    Budget(hooks, {limits}, grace_ns=100_000_000)
"""
    result = box.run(["sh", "-c", script], options=program(tmp_path, text))
    assert result.returncode in (137, 143)
    assert f"the budget of {name} is used up" in box.log
    assert len(result.stdout) < 1_000_000


def test_runs_repeat_with_a_virtual_clock_and_a_seed(box: Box, tmp_path: Path) -> None:
    options = program(
        tmp_path,
        """
from trimaran.sandbox.features.repeatable import VirtualClock, prepare, seed_randomness
def settings(settings):
    prepare(settings)
def hooks(hooks):
    VirtualClock(hooks.kernel, start=10**18)
    seed_randomness(hooks.kernel, b"seed")
""",
    )
    script = "busybox date +%s; sleep 1000; busybox date +%s; busybox head -c 16 /dev/urandom | busybox xxd"
    runs = [box.run(["sh", "-c", script], options=options).stdout for _ in range(2)]
    assert runs[0] == runs[1]
    first, second = (int(line) for line in runs[0].split("\n")[:2])
    assert first == 10**9
    assert 1000 <= second - first <= 1001


def test_changes_are_listed_and_thrown_away(box: Box, tmp_path: Path) -> None:
    options = program(
        tmp_path,
        """
from trimaran.sandbox.features.difference import changes, discard
def hooks(hooks):
    global out
    out = open(OUT, "w")
def finished(kernel):
    fs = kernel.namespace.root.fs
    out.write("\\n".join(map(repr, changes(fs)))); discard(fs); assert not changes(fs); out.close()
""",
    )
    box.run(["sh", "-c", "mkdir /new; echo x > /new/f; rm /etc/passwd; chmod 755 /bin/cat"], options=options)
    listed = (tmp_path / "out").read_text().splitlines()
    for line in ("added /new", "added /new/f", "deleted /etc/passwd", "modified /bin/cat", "modified /etc"):
        assert line in listed
