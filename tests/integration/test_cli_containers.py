"""The container commands as users type them, each in a process of its own."""

import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from tests.support.engines import BUSYBOX, engine_with_busybox

pytestmark = pytest.mark.root


@pytest.fixture
def root(tmp_path):
    path = str(tmp_path / "root")
    with engine_with_busybox(path) as engine:
        yield path
        for container in engine.containers(all=True):
            container.remove(force=True, volumes=True)


def command(root: str, *words: str) -> list[str]:
    return [os.path.join(os.path.dirname(sys.executable), "trimaran"), "--root", root, *words]


def trimaran(root: str, *words: str, **options):
    return subprocess.run(
        command(root, *words), capture_output=True, text=True, check=False, timeout=60, **options
    )


def run(root: str, *words: str, **options):
    return trimaran(root, "run", "--rm", "--network", "none", *words, **options)


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["sh", "-c", "exit 7"], 7, ""),
        (["sh", "-c", "sh -c 'kill -9 $$'; exit $?"], 137, ""),
        (["no-such-program"], 127, "cannot execute no-such-program"),
        (["/etc/passwd"], 126, "cannot execute /etc/passwd"),
    ],
)
def test_exit_codes_of_run(root, words, code, error):
    done = run(root, BUSYBOX, *words)
    assert done.returncode == code
    assert error in done.stderr
    assert trimaran(root, "ps", "-aq").stdout == ""


def test_engine_failures_are_125_on_one_line(root):
    done = run(root, "--pull", "never", "no/such-image", "true")
    assert done.returncode == 125
    assert done.stderr.startswith("trimaran: ")
    assert done.stderr.count("\n") == 1


def test_streams_are_apart_and_input_is_passed_on(root):
    done = run(root, "-i", BUSYBOX, "sh", "-c", "cat; echo err >&2", input="x" * 300_000)
    assert (done.stdout, done.stderr) == ("x" * 300_000, "err\n")


def test_run_detached_and_look_into_it(root):
    id = trimaran(
        root, "run", "-d", "--name", "web", "--network", "none", BUSYBOX, "sh", "-c", "echo up; exec sleep 99"
    )
    assert len(id.stdout.strip()) == 64
    assert trimaran(root, "ps", "--format", "{{.Names}} {{.State}}").stdout == "web running\n"
    assert trimaran(root, "exec", "web", "sh", "-c", "echo in; exit 4").returncode == 4
    assert trimaran(root, "exec", "web", "nope").returncode == 127
    assert trimaran(root, "logs", "web").stdout == "up\n"
    assert trimaran(root, "stop", "-t", "0", "web").stdout == "web\n"
    assert trimaran(root, "wait", "web").stdout == "137\n"
    assert trimaran(root, "ps", "-a", "--filter", "exited=137", "-q", "--no-trunc").stdout == id.stdout
    assert trimaran(root, "rm", "web").returncode == 0
    assert trimaran(root, "rm", "web").returncode == 125


def test_logs_follow_until_the_end(root):
    trimaran(
        root,
        "run",
        "-d",
        "--name",
        "n",
        "--network",
        "none",
        BUSYBOX,
        "sh",
        "-c",
        "for i in 1 2 3; do echo $i; sleep 0.2; done",
    )
    assert trimaran(root, "logs", "-f", "n").stdout == "1\n2\n3\n"
    assert trimaran(root, "logs", "-n", "1", "n").stdout == "3\n"


def test_signals_are_passed_on(root):
    script = "trap 'echo got; exit 9' TERM; echo up; while :; do sleep 0.1; done"
    words = command(root, "run", "--rm", "--network", "none", BUSYBOX, "sh", "-c", script)
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "got\n"
    assert process.returncode == 9


def test_terminal_with_detach_and_attach(root):
    words = command(root, "run", "-it", "--name", "t", "--network", "none", BUSYBOX, "sh")
    pid, master = pty.fork()
    if pid == 0:
        os.execv(words[0], words)
    _expect(master, b"# ")
    os.write(master, b"echo $((6*7))\r")
    _expect(master, b"42\r\n")
    os.write(master, b"\x10\x11")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(master)
    assert trimaran(root, "ps", "--format", "{{.State}}").stdout == "running\n"
    pid, master = pty.fork()
    if pid == 0:
        words = command(root, "attach", "t")
        os.execv(words[0], words)
    time.sleep(0.3)
    os.write(master, b"exit 3\r")
    _drain(master)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    os.close(master)


def _expect(master: int, wanted: bytes) -> None:
    seen = b""
    while wanted not in seen:
        seen += os.read(master, 4096)


def _drain(master: int) -> None:
    try:
        while os.read(master, 4096):
            pass
    except OSError:
        return
