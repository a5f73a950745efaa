"""R2: a host descriptor reaches the container; its working directory is one (CVE-2024-21626)."""

import os

import pytest
from tests.support.runtimes import Runtime

pytestmark = [pytest.mark.root, pytest.mark.peer("busybox")]
# ls itself opens the directory that it lists.
LIST = ("ls", "/proc/self/fd")


def test_r02_run_passes_three_descriptors(runtime: Runtime) -> None:
    runtime.configure(*LIST)
    leak = os.open("/", os.O_RDONLY)
    os.set_inheritable(leak, True)
    try:
        result = runtime("run", "threat-1", pass_fds=(leak,))
    finally:
        os.close(leak)
    assert result.stdout.split() == ["0", "1", "2", "3"], result.stderr


def test_r02_exec_passes_three_descriptors(runtime: Runtime) -> None:
    runtime.configure("sleep", "100")
    runtime("run", "-d", "threat-2")
    assert runtime("exec", "threat-2", *LIST).stdout.split() == ["0", "1", "2", "3"]


def test_r02_only_what_the_caller_gave_is_preserved(runtime: Runtime) -> None:
    """The runtime's own descriptors have numbers below the caller's: they must not go with it."""
    runtime.configure(*LIST)
    reader, writer = os.pipe()
    try:
        result = runtime("run", "--preserve-fds", reader - 2, "threat-3", pass_fds=(reader,))
    finally:
        os.close(reader)
        os.close(writer)
    found = set(map(int, result.stdout.split()))
    # One more is the directory that ls lists.
    assert {0, 1, 2, reader} <= found, result.stderr
    assert len(found) == 5


@pytest.mark.parametrize("number", [*range(3, 14), 100])
def test_r02_run_does_not_start_in_a_descriptor(runtime: Runtime, number: int) -> None:
    runtime.configure("sh", "-c", "pwd; ls ../../..", cwd=f"/proc/self/fd/{number}")
    result = runtime("run", "threat-4")
    assert result.returncode != 0
    assert result.stdout == ""


def test_r02_exec_does_not_start_in_a_descriptor(runtime: Runtime) -> None:
    runtime.configure("sleep", "100")
    runtime("run", "-d", "threat-5")
    for number in range(3, 14):
        result = runtime("exec", "--cwd", f"/proc/self/fd/{number}", "threat-5", "sh", "-c", "pwd")
        assert result.returncode != 0
        assert result.stdout == ""
