"""The main job on real input: a Debian image goes to a registry, is pulled from there, and runs."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support import images
from tests.support.layers import snapshot
from tests.support.registry import push, registry

from trimaran import Engine

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.peer("mmdebstrap", "docker-registry", "skopeo", "umoci"),
]
TRIMARAN = Path(sys.executable).parent / "trimaran"


@pytest.fixture(scope="module")
def pulled(tmp_path_factory):
    """A root directory with the image, and its name."""
    work = tmp_path_factory.mktemp("debian")
    root = str(work / "root")
    with registry(str(work / "registry")) as server:
        name = f"{server.host}/test/debian:12"
        push(f"{images.debian()}:latest", name)
        trimaran(root, "pull", "--tls-verify=false", name)
    yield root, name
    assert trimaran(root, "ps", "-aq").stdout == ""


def trimaran(root: str, *words: str, code: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run([TRIMARAN, "--root", root, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == code, (done.returncode, done.stderr)
    return done


def run(pulled, *words: str, code: int = 0) -> subprocess.CompletedProcess:
    root, name = pulled
    at = next(i for i, word in enumerate([*words, "--"]) if not word.startswith("-"))
    return trimaran(root, "run", "--rm", "--network=none", *words[:at], name, *words[at:], code=code)


def test_os_release(pulled):
    assert 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"' in run(pulled, "cat", "/etc/os-release").stdout


def test_a_failing_and_a_missing_command(pulled):
    assert run(pulled, "bash", "-c", "echo no >&2; exit 42", code=42).stderr == "no\n"
    assert "cannot execute nothing-of-that-name" in run(pulled, "nothing-of-that-name", code=127).stderr


def test_killed_for_memory(pulled):
    done = run(pulled, "--memory=32m", "perl", "-e", "my $x = 'x' x (256 << 20); sleep 1", code=137)
    assert done.stdout == ""


def test_an_interactive_shell_on_a_terminal(pulled):
    root, name = pulled
    words = [
        str(TRIMARAN),
        "--root",
        root,
        "run",
        "--rm",
        "-it",
        "--network=none",
        "--hostname=box",
        name,
        "bash",
    ]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(words[0], words)
    shown = read_until(terminal, b"root@box:/# ")
    os.write(terminal, b"tty; test -t 1 && echo $((6 * 7)) columns; exit 5\n")
    shown = read_until(terminal, b"42 columns")
    assert b"/dev/pts/0" in shown
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 5


def read_until(terminal: int, wanted: bytes) -> bytes:
    shown = b""
    end = time.monotonic() + 30
    while wanted not in re.sub(rb"\x1b\[[?0-9;]*[a-zA-Z]|\r", b"", shown):
        ready, _, _ = select.select([terminal], [], [], end - time.monotonic())
        assert ready, shown
        shown += os.read(terminal, 4096)
    return shown


def test_from_python(pulled):
    root, name = pulled
    with Engine(root=root) as engine:
        result = engine.run(name, ["cat", "/etc/debian_version"], network="none")
    assert (result.exit_code, result.stdout[:3]) == (0, b"12.")


def test_the_tree_equals_umocis(pulled, tmp_path):
    root, name = pulled
    reference = tmp_path / "umoci"
    subprocess.run(
        ["umoci", "unpack", "--image", f"{images.debian()}:latest", str(reference)],
        check=True,
        capture_output=True,
    )
    with Engine(root=root) as engine:
        image = engine.core.images.get(name)
        [layer] = image.layers
        [ours] = engine.core.snapshots.prepare("tree-of-a-test", layer.chain_id).lower
        try:
            assert snapshot(ours) == snapshot(str(reference / "rootfs"))
        finally:
            engine.core.snapshots.remove("tree-of-a-test")
