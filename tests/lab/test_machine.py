"""The lab is what the other tests take it for; run as root and as an ordinary user."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.lab

CGROUPS = Path("/sys/fs/cgroup")


def own_cgroup() -> Path:
    line = Path("/proc/self/cgroup").read_text().strip()
    return CGROUPS / line.removeprefix("0::/")


def test_cgroups_are_unified_with_every_controller() -> None:
    assert {"cpu", "cpuset", "io", "memory", "pids"} <= set(
        (CGROUPS / "cgroup.controllers").read_text().split()
    )


def test_the_tests_own_cgroup_is_delegated_to_them() -> None:
    cgroup = own_cgroup()
    assert {"cpu", "memory", "pids"} <= set((cgroup / "cgroup.controllers").read_text().split())
    child = cgroup / "test"
    child.mkdir()
    try:
        assert (child / "cgroup.procs").stat().st_uid == os.geteuid()
    finally:
        child.rmdir()


def test_pressure_is_measured() -> None:
    assert (CGROUPS / "memory.pressure").read_text().startswith("some ")


def test_systemd_is_init_and_answers() -> None:
    assert Path("/proc/1/comm").read_text().strip() == "systemd"
    manager = [] if os.geteuid() == 0 else ["--user"]
    done = subprocess.run(
        ["systemctl", *manager, "show", "--property=Version"], capture_output=True, check=False
    )
    assert done.stdout.startswith(b"Version=252"), done.stderr


def test_apparmor_is_on() -> None:
    assert Path("/sys/module/apparmor/parameters/enabled").read_text().strip() == "Y"
    assert "apparmor" in Path("/sys/kernel/security/lsm").read_text().split(",")


@pytest.mark.root
def test_kvm_makes_a_machine() -> None:
    import fcntl

    kvm_get_api_version, kvm_create_vm = 0xAE00, 0xAE01
    device = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    try:
        assert fcntl.ioctl(device, kvm_get_api_version) == 12
        os.close(fcntl.ioctl(device, kvm_create_vm, 0))
    finally:
        os.close(device)


def test_an_ordinary_user_has_a_range_of_ids() -> None:
    assert any(line.startswith("lab:") for line in Path("/etc/subuid").read_text().splitlines())
