"""opencontainers/runtime-tools' validation suite, run against trimaran-oci.

It is not part of this repository. Build it anywhere (``make runtimetest validation-executables``, Go 1.21)
and name its directory in TRIMARAN_RUNTIME_TOOLS. What fails is listed here, with the reason.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.root]
COMMAND = Path(sys.executable).parent / "trimaran-oci"
SUITE = Path(os.environ.get("TRIMARAN_RUNTIME_TOOLS", "/nonexistent"))
PROGRAMS = sorted(path.parent.name for path in SUITE.glob("validation/*/*.t"))

# What the suite itself has wrong, or has not followed the specification in.
OUTDATED = {
    "delete": "wants created containers not to be deletable; runc, crun and every engine rely on it",
    "delete_resources": "compares the addresses of two numbers, not the numbers",
    "linux_cgroups_pids": "compares the addresses of two numbers, not the numbers",
    "linux_cgroups_relative_pids": "compares the addresses of two numbers, not the numbers",
    "misc_props": "creates a container whose program is not in its root file system",
    "pidfile": "kills a container that has ended, which runtime.md ('Kill') makes an error",
    "process_capabilities_fail": "wants an error; config.md ('Linux Process') wants a warning",
    "process_rlimits": "gives RLIMIT_NOFILE twice and expects both values",
    "start": "wants start to succeed without a process; runtime.md ('Start') makes it an error",
}
# What this kind of host lacks; hosts that have it run the program.
NEEDS = {
    "linux_cgroups_blkio": "blkio.weight or blkio.bfq.weight",
    "linux_cgroups_hugetlb": "the hugetlb controller",
    "linux_cgroups_memory": "memory.kmem.limit_in_bytes, which kernels from 5.16 on lack",
    "linux_cgroups_network": "net_cls and net_prio",
    "linux_cgroups_relative_blkio": "blkio.weight or blkio.bfq.weight",
    "linux_cgroups_relative_hugetlb": "the hugetlb controller",
    "linux_cgroups_relative_memory": "memory.kmem.limit_in_bytes, which kernels from 5.16 on lack",
    "linux_cgroups_relative_network": "net_cls and net_prio",
    "linux_mount_label": "SELinux",
    "linux_process_apparmor_profile": "AppArmor with the profile acme_secure_profile",
    "process_capabilities": "all capabilities, CAP_SYS_RESOURCE among them",
}


@pytest.mark.skipif(not PROGRAMS, reason="set TRIMARAN_RUNTIME_TOOLS to a built opencontainers/runtime-tools")
@pytest.mark.parametrize("name", PROGRAMS or ["none"])
def test_validation(name: str, request: pytest.FixtureRequest) -> None:
    if reason := OUTDATED.get(name):
        request.applymarker(pytest.mark.xfail(reason=reason, strict=False))
    if reason := NEEDS.get(name):
        request.applymarker(pytest.mark.xfail(reason=f"needs {reason}", strict=False))
    result = subprocess.run(
        [SUITE / "validation" / name / f"{name}.t"],
        cwd=SUITE,
        env={**os.environ, "RUNTIME": str(COMMAND)},
        capture_output=True,
        text=True,
        timeout=110,
    )
    failed = [line for line in result.stdout.splitlines() if line.startswith("not ok")]
    assert (result.returncode, failed) == (0, []), result.stdout[-3000:] + result.stderr[-2000:]
