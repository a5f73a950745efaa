"""R10: a user or group number overflows to root (CVE-2024-40635)."""

from typing import Any

import pytest
from tests.support.runtimes import Runtime

pytestmark = [pytest.mark.root, pytest.mark.peer("busybox")]


@pytest.mark.parametrize("number", [-1, 2**32 - 1, 2**32, 2**64, 1.0, "0", True])
@pytest.mark.parametrize("key", ["uid", "gid"])
def test_r10_run_refuses(runtime: Runtime, key: str, number: Any) -> None:
    runtime.configure("id", user={"uid": 1000, "gid": 1000, key: number})
    result = runtime("run", "threat-1")
    assert (result.returncode, result.stdout) == (1, "")
    assert f"$.process.user.{key}: expected an integer from 0 to 4294967294" in result.stderr


@pytest.mark.parametrize(
    "text", ["-1", "4294967295", "4294967296", "1000:4294967295", "18446744073709551616", "x"]
)
def test_r10_exec_refuses(runtime: Runtime, text: str) -> None:
    runtime.configure("sleep", "100")
    runtime("run", "-d", "threat-2")
    result = runtime("exec", f"--user={text}", "threat-2", "id")
    assert (result.returncode, result.stdout) == (255, "")


def test_r10_the_largest_is_taken(runtime: Runtime) -> None:
    runtime.configure("id", user={"uid": 2**32 - 2, "gid": 2**32 - 2})
    assert "uid=4294967294 gid=4294967294" in runtime("run", "threat-3").stdout
