"""trimaran plan: explaining a configuration, and comparing two."""

import json
from pathlib import Path

import pytest
from tests.support.bundles import usual_config

from trimaran.cli import main


def bundle(path: Path, **changes: object) -> str:
    path.mkdir()
    (path / "rootfs").mkdir()
    (path / "config.json").write_text(json.dumps({**usual_config("true"), **changes}))
    return str(path)


def run(*words: str) -> int:
    return main.execute(list(words))


def test_each_operation_says_where_it_comes_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", bundle(tmp_path / "a")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("hostname name=test" in line and "# $.hostname" in line for line in lines)
    operations = [line for line in lines if line.startswith("  ")]
    assert len(operations) > 30
    assert all("  # " in line for line in operations)


def test_short_leaves_the_reasons_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", "--short", bundle(tmp_path / "a")) == 0
    assert "#" not in capsys.readouterr().out


def test_two_configurations_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = bundle(tmp_path / "a"), bundle(tmp_path / "b", hostname="other")
    assert run("plan", "--short", "--context", "0", one, "--diff", other) == 1
    changed = [
        line
        for line in capsys.readouterr().out.splitlines()
        if line[0] in "+-" and line[:3] not in ("+++", "---")
    ]
    assert "-  hostname name=test" in changed
    assert "+  hostname name=other" in changed
    assert run("plan", one, "--diff", one) == 0


def test_a_file_will_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = bundle(tmp_path / "a")
    assert run("plan", f"{directory}/config.json") == 0
    assert "execve" in capsys.readouterr().out
