"""R1: the container overwrites the runtime's own binary through /proc/self/exe (CVE-2019-5736)."""

import hashlib
import os
from pathlib import Path

import pytest
from tests.support.runtimes import Runtime

import trimaran

pytestmark = [pytest.mark.root, pytest.mark.peer("busybox")]
INIT = Path(trimaran.__file__).parent / "_bin/trimaran-init"


def digest() -> str:
    return hashlib.sha256(INIT.read_bytes()).hexdigest()


def test_r01_the_first_process_is_a_sealed_copy(runtime: Runtime) -> None:
    runtime.configure("true")
    assert runtime("create", "threat-1").returncode == 0
    exe = f"/proc/{runtime.state('threat-1')['pid']}/exe"
    assert os.readlink(exe).startswith("/memfd:")
    with pytest.raises(OSError, match=r"Text file busy|not permitted"):
        os.close(os.open(exe, os.O_WRONLY))


def test_r01_run_as_itself_it_changes_nothing(runtime: Runtime) -> None:
    before = digest()
    runtime.configure("/proc/self/exe")
    assert runtime("run", "threat-2").returncode != 0
    assert digest() == before


ATTACK = "while :; do for p in /proc/[0-9]*; do (echo x > $p/exe) 2>/dev/null; done; done"


def test_r01_exec_is_attacked_while_it_joins(runtime: Runtime) -> None:
    before = digest()
    runtime.configure("sh", "-c", ATTACK)
    assert runtime("run", "-d", "threat-3").returncode == 0
    for _ in range(10):
        assert runtime("exec", "threat-3", "true").returncode == 0
    assert digest() == before
