"""Reading what the runtime's commands are given, and what they print without a container."""

import json
from pathlib import Path

import pytest

from trimaran.errors import InvalidInput
from trimaran.runtime import command
from trimaran.runtime.cgroups import report
from trimaran.runtime.commands.events import seconds
from trimaran.runtime.commands.features import features
from trimaran.runtime.commands.update import size
from trimaran.spec.default_config import default_config
from trimaran.spec.runtime import Config
from trimaran.spec.validate import check


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("-1", -1),
        ("67108864", 64 << 20),
        ("64m", 64 << 20),
        ("1.5GiB", 3 << 29),
        ("2kb", 2048),
        ("1T", 1 << 40),
    ],
)
def test_sizes(text: str, number: int) -> None:
    assert size(text, "memory") == number


@pytest.mark.parametrize("text", ["", "m", "-2", "1x", "1..5m", "٣m"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInput, match="--memory takes a size"):
        size(text, "memory")


@pytest.mark.parametrize(("text", "time"), [("5s", 5), ("100ms", 0.1), ("1m30s", 90), ("0.5h", 1800)])
def test_times(text: str, time: float) -> None:
    assert seconds(text) == pytest.approx(time)


@pytest.mark.parametrize("text", ["", "5", "s", "1x", "0s", "1..0s"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInput):
        seconds(text)


@pytest.mark.parametrize("rootless", [None, (1000, 1000)])
def test_the_default_configuration_is_valid(rootless: tuple[int, int] | None) -> None:
    assert check(Config.parse(default_config(rootless))) == []


def test_spec_writes_a_file_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(["spec", "--bundle", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "config.json").read_text())["process"]["args"] == ["sh"]
    assert command.run(["spec", "--bundle", str(tmp_path)]) == 1
    assert "exists already" in capsys.readouterr().err


def test_features_are_those_of_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(["features"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == features()
    assert {"rbind", "rro", "ridmap", "tmpcopyup", "rshared"} <= set(printed["mountOptions"])
    assert "SCMP_ACT_NOTIFY" in printed["linux"]["seccomp"]["actions"]


def test_reports_of_cgroup_v2(tmp_path: Path) -> None:
    files = {
        "cgroup.controllers": "cpu memory\n",
        "cpu.stat": "usage_usec 5\nuser_usec 3\nsystem_usec 2\nthrottled_usec 1\n",
        "cpu.pressure": "some avg10=1.50 avg60=0.00 avg300=0.00 total=77\n",
        "memory.current": "100\n",
        "memory.max": "max\n",
        "memory.swap.current": "5\n",
        "memory.swap.max": "50\n",
        "memory.stat": "file 7\n",
        "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4\n",
        "pids.current": "2\n",
        "pids.max": "10\n",
        "hugetlb.2MB.current": "9\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    found: dict = report.stats([str(tmp_path)], 1)
    assert found["cpu"]["usage"] == {"total": 5000, "kernel": 2000, "user": 3000}
    assert found["cpu"]["psi"]["some"] == {"avg10": 1.5, "avg60": 0.0, "avg300": 0.0, "total": 77}
    assert found["memory"]["usage"]["limit"] == report.NO_LIMIT
    assert found["memory"]["swap"]["usage"] == 105
    assert {"major": 8, "minor": 0, "op": "Write", "value": 4} in found["blkio"]["ioServicedRecursive"]
    assert found["pids"] == {"current": 2, "limit": 10}
    assert found["hugetlb"]["2MB"]["usage"] == 9
