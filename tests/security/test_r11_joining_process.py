"""R11: processes of the container can trace or read the process that joins (CVE-2016-9962)."""

import os

import pytest
from tests.support.runtimes import Runtime

pytestmark = [pytest.mark.root, pytest.mark.peer("busybox")]


def test_r11_the_waiting_process_belongs_to_root(runtime: Runtime) -> None:
    """The files of a process that is not dumpable are root's, whoever its user is (proc(5))."""
    runtime.configure("true", user={"uid": 1000, "gid": 1000})
    assert runtime("create", "threat-1").returncode == 0
    pid = runtime.state("threat-1")["pid"]
    assert os.stat(f"/proc/{pid}/fd").st_uid == 0
    assert os.stat(f"/proc/{pid}/mem").st_uid == 0


# Until it runs its program, the joining process has a socket to the runtime.
WATCH = """
while :; do for p in /proc/[0-9]*; do
    [ "${p#/proc/}" = 1 ] && continue
    case $(ls -l $p/fd 2>/dev/null) in *socket:*) echo $p >> /tmp/caught;; esac
done; done
"""


def test_r11_exec_cannot_be_read_before_its_program_runs(runtime: Runtime) -> None:
    config = runtime.configure("sh", "-c", WATCH, user={"uid": 1000, "gid": 1000})
    runtime.write(config)
    (runtime.rootfs / "tmp").chmod(0o1777)
    runtime("run", "-d", "threat-2")
    for _ in range(15):
        assert runtime("exec", "threat-2", "true").returncode == 0
    assert not (runtime.rootfs / "tmp/caught").exists()
