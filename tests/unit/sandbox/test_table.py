"""The table of system calls: handlers can be called, and numbers are those of the architecture."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from trimaran.sandbox.abi import MACHINE, NAMES
from trimaran.sandbox.kernel.table import build_table


def test_every_handler_takes_a_task_and_six_arguments() -> None:
    for number, handler in enumerate(build_table()):
        if handler is not None:
            inspect.signature(handler).bind(None, 0, 0, 0, 0, 0, 0)
            assert number in NAMES


def test_both_architectures_agree_on_new_calls() -> None:
    from trimaran.sandbox.abi import numbers_aarch64, numbers_x86_64

    tables = [
        {first + i: name for first, names in module.RUNS for i, name in enumerate(names.split())}
        for module in (numbers_aarch64, numbers_x86_64)
    ]
    assert {n: name for n, name in tables[0].items() if n >= 424} == {
        n: name for n, name in tables[1].items() if n >= 424
    }
    assert tables[0][221] == "execve"
    assert tables[1][59] == "execve"


@pytest.mark.skipif(MACHINE != "x86_64", reason="the page is made for x86_64")
def test_the_reference_page_is_that_of_the_code() -> None:
    script = Path(__file__).parents[3] / "scripts/sandbox_docs.py"
    result = subprocess.run([sys.executable, str(script), "--check"], check=False)
    assert result.returncode == 0, "run python scripts/sandbox_docs.py"
