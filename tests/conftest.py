"""Skips what this machine cannot run, and says what it lacks."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says more about the machine than about the code.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")

# Where a program does not come from the Debian package of its own name.
PACKAGES = {
    "ctr": "containerd",
    "docker": "docker.io",
    "dockerd": "docker.io",
    "nft": "nftables",
    "qemu-system-x86_64": "qemu-system-x86",
}


TOP = Path(__file__).resolve().parent.parent


def open_to_all() -> bool:
    """Whether any user can read this tree: below /root, for one, only root can."""
    return all(directory.stat().st_mode & 0o005 == 0o005 for directory in (TOP, *TOP.parents))


def missing_programs(item: pytest.Item) -> list[str]:
    wanted = {program for mark in item.iter_markers("peer") for program in mark.args}
    return sorted(program for program in wanted if not shutil.which(program))


def reason_to_skip(item: pytest.Item) -> str:
    if item.get_closest_marker("lab") and not os.environ.get("TRIMARAN_LAB"):
        return "needs the lab (make lab-test)"
    if item.get_closest_marker("root") and os.geteuid() != 0:
        return "needs root"
    if item.get_closest_marker("ordinary_user") and not open_to_all():
        return "needs a tree that ordinary users can read, too"
    if missing := missing_programs(item):
        return f"needs {', '.join(f'{m} (package {PACKAGES.get(m, m)})' for m in missing)}"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if reason := reason_to_skip(item):
            item.add_marker(pytest.mark.skip(reason=reason))
