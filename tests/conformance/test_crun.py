"""crun's own tests in Python, run against trimaran-oci.

They are not part of this repository. Name a checkout of containers/crun, with tests/init built there, in
TRIMARAN_CRUN. What fails is listed here, with the reason.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.root]
COMMAND = Path(sys.executable).parent / "trimaran-oci"
CHECKOUT = Path(os.environ.get("TRIMARAN_CRUN", "/nonexistent"))
FILES = sorted(path.stem for path in CHECKOUT.glob("tests/test_*.py"))

ONLY_CRUN = "an extension of crun, or its exact words"
KNOWN = {
    "annotation-seccomp-fail-unknown-syscall": ONLY_CRUN,
    "cgroup-v1-exec-cgroup-subpath": ONLY_CRUN,
    "crun-features": ONLY_CRUN,
    "error-log-invalid-path": ONLY_CRUN,
    "exec-help": ONLY_CRUN,
    "help": ONLY_CRUN,
    "invalid-id": ONLY_CRUN,
    "invalid-id-chars": "ids that begin with a dot are runc's too",
    "keep-groups": ONLY_CRUN,
    "seccomp-listener": "config-linux.md: without SCMP_ACT_NOTIFY the listener's path is ignored",
    "start": "reads a file of crun's state directory",
    "test-annotation-hook-stdout-stderr": ONLY_CRUN,
    "test-multiple-poststop-hooks-failure": ONLY_CRUN,
    "test-poststop-hook-failure-warning": ONLY_CRUN,
    "test_help_delete": ONLY_CRUN,
    "version-command": ONLY_CRUN,
    "regular-files-chowned": "runc leaves the group of standard streams as it is",
    "exec_add_no_new_privileges": "as with runc, exec keeps noNewPrivileges of the container",
    "unknown-caps": "config.md ('Linux Process') wants a warning for an unknown capability",
    "cgroup-hugetlb": "needs the hugetlb controller",
    "exec-root-netns-with-userns": "needs CAP_SYS_RESOURCE, to look at process 1",
    "net-devices": "needs Python 3.12",
    **dict.fromkeys(
        ("scheduler-fifo", "scheduler-rr", "scheduler-flags"),
        "needs a kernel that gives realtime CPU time to new cgroups",
    ),
    **{
        f"scheduler-deadline-{case}": ONLY_CRUN
        for case in (
            *("missing-runtime", "missing-deadline", "zero-runtime", "invalid-order"),
            *("invalid-deadline-period", "too-small-runtime", "too-big-runtime"),
        )
    },
}


@pytest.mark.skipif(
    not FILES, reason="set TRIMARAN_CRUN to a checkout of containers/crun with tests/init built"
)
@pytest.mark.parametrize("name", FILES or ["none"])
def test_crun(name: str) -> None:
    environment = {**os.environ, "OCI_RUNTIME": str(COMMAND), "INIT": str(CHECKOUT / "tests/init")}
    result = subprocess.run(
        [sys.executable, f"tests/{name}.py"],
        cwd=CHECKOUT,
        env={**environment, "PYTHONPATH": str(CHECKOUT / "tests")},
        capture_output=True,
        text=True,
        timeout=115,
    )
    failed = [
        line.split(" - ")[1].split(" #")[0]
        for line in result.stdout.splitlines()
        if line.startswith("not ok")
    ]
    assert [case for case in failed if case not in KNOWN] == [], result.stderr[-3000:]
