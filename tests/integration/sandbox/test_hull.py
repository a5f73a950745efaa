"""The sandbox hull through its contract: life cycle, exec, terminals, limits, statistics."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from tests.support.sandboxes import Box

from trimaran.errors import CommandNotExecutable, CommandNotFound, Conflict, NotFound, SpecError, Unsupported
from trimaran.isolation import Root, Stdio
from trimaran.monitor import Control

pytestmark = pytest.mark.peer("busybox")


def test_a_program_runs_with_its_output_and_exit_code(box: Box) -> None:
    result = box.run(["sh", "-c", "echo out; echo err >&2; cat; exit 3"], input="given")
    assert (result.stdout, result.stderr, result.returncode) == ("out\ngiven", "err\n", 3)


def test_who_and_where_it_is(box: Box) -> None:
    script = "id -u; id -g; pwd; hostname; echo $HOME; umask"
    result = box.run(["sh", "-c", script], user={"uid": 1000, "gid": 100, "umask": 0o027}, cwd="/new/dir")
    assert result.stdout.split() == ["1000", "100", "/new/dir", "box", "/root", "0027"]


@pytest.mark.parametrize(
    ("argv", "error"), [(["missing"], CommandNotFound), (["/etc/passwd"], CommandNotExecutable)]
)
def test_what_cannot_be_executed_is_told_apart(box: Box, argv: list[str], error: type[Exception]) -> None:
    with pytest.raises(error):
        box.run(argv)
    assert os.listdir(box.directory / "hull") == []


def test_bad_requests_change_nothing(box: Box) -> None:
    with pytest.raises(SpecError):
        box.create([])
    with pytest.raises(Unsupported):
        box.create(["true"], change={"mounts": [{"destination": "/x", "type": "nfs", "source": "a:/"}]})
    with pytest.raises(NotFound):
        box.hull.status("box")
    assert os.listdir(box.directory / "hull") == []


def test_created_waits_for_start_and_states_follow(box: Box) -> None:
    process = box.create(["sleep", "100"])
    assert box.hull.status("box") == "created"
    with pytest.raises(Conflict):
        box.create(["true"])
    box.hull.start("box")
    assert box.hull.status("box") == "running"
    assert process.pid in box.hull.processes("box")
    with pytest.raises(Conflict):
        box.hull.start("box")
    with pytest.raises(Conflict):
        box.hull.delete("box")
    box.hull.kill("box", signal.SIGKILL)
    assert box.wait(process) == 137
    assert box.hull.status("box") == "stopped"
    with pytest.raises(Conflict):
        box.hull.kill("box", signal.SIGTERM)
    box.hull.delete("box")
    box.hull.delete("box")


def test_exec_joins_the_container(box: Box, tmp_path: Path) -> None:
    box.create(["sleep", "100"], start=True)
    with open(tmp_path / "out", "w+") as out:
        stdio = Stdio(mode="pass", fds=(out.fileno(),) * 3)
        process = box.exec(["sh", "-c", "echo $$; cat /proc/1/cmdline; exit 7"], stdio=stdio)
        assert box.wait(process) == 7
        out.seek(0)
        pid, command = out.read().split("\n", 1)
    assert int(pid) > 1
    assert command == "sleep\x00100\x00"
    with pytest.raises(CommandNotFound):
        box.exec(["missing"])


def test_a_signal_reaches_a_handler(box: Box) -> None:
    process = box.create(["sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.05; done"], start=True)
    time.sleep(0.3)
    box.hull.kill("box", signal.SIGTERM)
    assert box.wait(process) == 9


def test_pause_stops_the_clock_of_a_loop(box: Box) -> None:
    box.create(["sh", "-c", "while :; do :; done"], start=True)
    box.hull.pause("box")
    assert box.hull.status("box") == "paused"
    before = box.hull.stats("box").cpu_user_ns
    time.sleep(0.3)
    assert box.hull.stats("box").cpu_user_ns - before < 100_000_000
    box.hull.resume("box")
    time.sleep(0.3)
    assert box.hull.stats("box").cpu_user_ns > before


def test_statistics_count_calls_and_tasks(box: Box) -> None:
    box.create(["sh", "-c", "for i in 1 2 3; do echo x > /tmp/f; done; sleep 100"], start=True)
    time.sleep(0.5)
    stats = box.hull.stats("box")
    assert stats.pids >= 1
    assert stats.memory > 0
    assert stats.extra["calls"]["write"] >= 3
    assert stats.extra["faults"] == 0


def test_memory_and_tasks_are_limited(box: Box) -> None:
    limits = {"linux": {"namespaces": [], "resources": {"memory": {"limit": 64 << 20}, "pids": {"limit": 5}}}}
    result = box.run(["sh", "-c", "tail /dev/zero; echo $?"], change=limits)
    assert result.stdout.split()[-1] == "137" or result.returncode == 137
    result = box.run(["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait"], change=limits)
    assert "can't fork" in result.stderr


def test_a_terminal_edits_lines_echoes_and_interrupts(box: Box) -> None:
    stdio = Stdio(mode="terminal", stdin="open", size=(30, 90))
    process = box.create(["sh"], stdio=stdio, terminal=True)
    box.hull.start("box")
    state = str(box.directory / "state-1")
    with Control(state) as control:
        control.attach(stdin=True)
        control.send_input(b"stty size; tty; trap 'echo caught' INT; cat\n")
        seen = _read_until(control, b"/dev/pts/0")
        assert b"30 90" in seen
        control.send_input(b"abx\x7fc\n")
        _read_until(control, b"abc\r\n")
        control.send_input(b"\x03")
        _read_until(control, b"caught")
        control.resize(40, 100)
        control.send_input(b"stty size; exit 4\n")
        _read_until(control, b"40 100")
    assert box.wait(process) == 4


def _read_until(control: Control, wanted: bytes) -> bytes:
    seen = b""
    deadline = time.monotonic() + 20
    for output in control.events():
        seen += getattr(output, "data", b"") or b""
        if wanted in seen:
            return seen
        assert time.monotonic() < deadline, seen
    raise AssertionError(seen)


def test_the_image_is_never_written(box: Box, tmp_path: Path) -> None:
    root = box.root()
    before = sorted(os.listdir(root.lower[0]))
    upper = tmp_path / "upper"
    upper.mkdir()
    kept = Root(lower=root.lower, upper=str(upper))
    assert box.run(["sh", "-c", "echo x > /new; rm /etc/passwd; chmod 700 /bin"], root=kept).returncode == 0
    assert sorted(os.listdir(root.lower[0])) == before
    assert (Path(root.lower[0]) / "etc/passwd").exists()
    assert (upper / "new").read_text() == "x\n"
    again = box.run(["sh", "-c", "cat /new; ls /etc; stat -c %a /bin 2>/dev/null || ls -ld /bin"], root=kept)
    assert again.stdout.startswith("x\n")
    assert "passwd" not in again.stdout


def test_volumes_are_shared_and_read_only_is_kept(box: Box, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("given")
    os.symlink("/etc/shadow", tmp_path / "link")
    mounts = [
        {"destination": "/v", "type": "bind", "source": str(tmp_path), "options": ["rbind"]},
        {"destination": "/ro", "type": "bind", "source": str(tmp_path), "options": ["rbind", "ro"]},
        {
            "destination": "/etc/resolv.conf",
            "type": "bind",
            "source": str(tmp_path / "in"),
            "options": ["bind"],
        },
    ]
    script = "cat /v/in /etc/resolv.conf; echo made > /v/out; echo no > /ro/x; cat /v/link"
    result = box.run(["sh", "-c", script], change={"mounts": mounts})
    assert result.stdout == "givengiven"
    assert (tmp_path / "out").read_text() == "made\n"
    assert "Read-only" in result.stderr
    assert "No such file" in result.stderr
