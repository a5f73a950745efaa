"""R2: what joins a container has the container's root, though its mount namespace has the host's (chroot)."""

import subprocess
from pathlib import Path

import pytest
from tests.support.runtimes import COMMAND, Runtime

pytestmark = [pytest.mark.root, pytest.mark.peer("busybox")]


def test_an_exec_into_a_container_of_a_runtime_in_a_chroot(runtime: Runtime, tmp_path: Path) -> None:
    """The runtime's own root is not that of its mount namespace: nor, then, is the container's."""
    outer = tmp_path / "outer"
    outer.mkdir()
    runtime.configure("sleep", "20")
    script = (
        f"set -e; mount --rbind / {outer}; mount --make-rslave {outer}; "
        f"chroot {outer} sh -c 'cd {runtime.bundle}; "
        f"{COMMAND} --root {runtime.root} run -d threat-2 </dev/null >/dev/null 2>&1; "
        f"{COMMAND} --root {runtime.root} exec threat-2 ls /; "
        f"{COMMAND} --root {runtime.root} delete --force threat-2'"
    )
    done = subprocess.run(
        ["unshare", "--mount", "--propagation=slave", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "bin" in done.stdout.split()
    assert not {"boot", "home", "usr"} & set(done.stdout.split())
