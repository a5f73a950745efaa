"""R9: inheritable capabilities that nobody asked for (CVE-2022-29162)."""

import pytest
from tests.support.runtimes import Runtime

pytestmark = [pytest.mark.root, pytest.mark.peer("busybox")]
SHOW = (
    "sh",
    "-c",
    "while read -r line; do case $line in CapInh*|CapAmb*) echo $line;; esac; done </proc/self/status",
)
NONE = ["CapInh: 0000000000000000", "CapAmb: 0000000000000000"]


@pytest.mark.parametrize("uid", [0, 1000])
def test_r09_run_has_none(runtime: Runtime, uid: int) -> None:
    runtime.configure(*SHOW, user={"uid": uid, "gid": uid})
    assert runtime("run", "threat-1").stdout.splitlines() == NONE


def test_r09_exec_has_none(runtime: Runtime) -> None:
    runtime.configure("sleep", "100")
    runtime("run", "-d", "threat-2")
    assert runtime("exec", "threat-2", *SHOW).stdout.splitlines() == NONE
    assert runtime("exec", "--cap", "CAP_CHOWN", "threat-2", *SHOW).stdout.splitlines() == NONE
