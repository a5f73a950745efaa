"""The commonest mistakes: each message says what, why and what to do, and stands in the reference."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.runtimes import Runtime, runtime_in

pytestmark = [pytest.mark.root, pytest.mark.peer("busybox")]
PAGE = Path(__file__).parents[2] / "docs/reference/runtime-messages.md"
Change = Callable[[dict[str, Any]], object]


def process(**fields: object) -> Change:
    return lambda config: config["process"].update(fields)


def linux(**fields: object) -> Change:
    return lambda config: config["linux"].update(fields)


def mount(**fields: object) -> Change:
    return lambda config: config["mounts"].append(fields)


# number of the row in the table: what is wrong
CONFIGURATIONS: dict[int, Change] = {
    1: process(args=["missing"]),
    2: process(args=["/missing"]),
    3: process(args=["/etc/passwd"]),
    4: process(args=[]),
    5: process(cwd="relative"),
    6: process(cwd="/etc/passwd"),
    7: process(user={"uid": "root"}),
    8: process(rlimits=[{"type": "RLIMIT_FILES", "soft": 1, "hard": 1}]),
    9: process(rlimits=[{"type": "RLIMIT_NOFILE", "soft": 2, "hard": 1}]),
    10: process(oomScoreAdj=2000),
    11: lambda config: config.update(root={"path": "missing"}),
    12: lambda config: config.pop("root"),
    13: lambda config: config.pop("ociVersion"),
    14: mount(destination="/x", source="/missing", options=["bind"]),
    15: mount(destination="/x", type="nofs", source="x"),
    16: mount(destination="/x", type="tmpfs", source="x", options=["size=lots"]),
    17: mount(destination="/etc/passwd/x", type="tmpfs", source="x"),
    18: linux(namespaces=[{"type": "net"}]),
    19: linux(namespaces=[{"type": "mount"}]),
    20: linux(sysctl={"kernel.panic": "1"}),
    21: linux(resources={"memory": {"limit": 10, "swap": 5}}),
    22: linux(resources={"unified": {"memory.max": "1"}}),
    23: linux(cgroupsPath="/../x"),
    24: linux(devices=[{"path": "/dev/x", "type": "z"}]),
    25: linux(uidMappings=[{"containerID": 0, "hostID": 0, "size": 1}]),
    26: process(apparmorProfile="strict"),
    27: linux(seccomp={"defaultAction": "SCMP_ACT_DENY"}),
    28: linux(maskedPaths=["proc/kcore"]),
}
COMMANDS: dict[int, list[str]] = {
    29: ["start", "nobody"],
    30: ["create"],
    31: ["create", "--bundel", ".", "id"],
    32: ["creat", "id"],
    33: ["kill", "nobody", "SIGFOO"],
    34: ["--log-format", "xml", "list"],
    35: ["create", "a/b"],
    36: ["create", "--bundle", "/missing", "id"],
}


def rows() -> dict[int, str]:
    """The messages of the page's table, by the number of their row."""
    found = re.findall(r"^\| (\d+) \|[^|]*\| `(.+)` \|$", PAGE.read_text(), re.MULTILINE)
    return {int(number): message.replace("\\|", "|") for number, message in found}


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    with runtime_in(tmp_path) as runtime:
        yield runtime


def test_the_page_has_a_row_for_each() -> None:
    assert set(rows()) == set(CONFIGURATIONS) | set(COMMANDS)


@pytest.mark.parametrize("number", CONFIGURATIONS)
def test_configurations(runtime: Runtime, number: int) -> None:
    config = runtime.configure("true")
    CONFIGURATIONS[number](config)
    runtime.write(config)
    check(runtime("run", "threat-mistake"), number, runtime)


@pytest.mark.parametrize("number", COMMANDS)
def test_commands(runtime: Runtime, number: int) -> None:
    runtime.configure("true")
    check(runtime(*COMMANDS[number]), number, runtime)


def check(result: Any, number: int, runtime: Runtime) -> None:
    assert result.returncode != 0
    said = result.stderr.strip().splitlines()[-1].removeprefix("trimaran-oci: ")
    assert said.replace(str(runtime.bundle), "BUNDLE") == rows()[number]
