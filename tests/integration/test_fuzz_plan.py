"""The plan's parser under libFuzzer, with sanitizers: golden plans, then new inputs for a bounded time."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from trimaran.plan import compile, wire
from trimaran.plan.build import Build
from trimaran.plan.host import HostFacts
from trimaran.spec.runtime import Config

pytestmark = pytest.mark.peer("clang")

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/unit/plan/golden"
SECONDS = 600 if os.environ.get("TRIMARAN_SOAK") else 15
HOST = HostFacts(capabilities=(1 << 41) - 1, kernel=(6, 1), uid=0, gid=0, cgroups=None)


@pytest.fixture
def fuzzer(tmp_path: Path) -> Path:
    target = tmp_path / "fuzz"
    flags = ["-g", "-O1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
    sources = ["native/fuzz/plan.c", "native/common/load.c"]
    subprocess.run(["clang", *flags, "-Inative/common", *sources, "-o", str(target)], cwd=ROOT, check=True)
    return target


def seeds(directory: Path) -> Path:
    """The golden plans in their wire form."""
    directory.mkdir()
    for path in GOLDEN.glob("*.json"):
        build = Build(Config.parse(json.loads(path.read_text())), HOST, id="seed", bundle="/bundle")
        plan = compile.create(build, cgroup=None, confinement=None, state="{}")
        (directory / path.stem).write_bytes(wire.encode(plan))
    return directory


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 120)
def test_the_parser_keeps_its_promises(fuzzer: Path, tmp_path: Path) -> None:
    corpus = seeds(tmp_path / "corpus")
    given = len(list(corpus.iterdir()))
    options = [f"-max_total_time={SECONDS}", "-max_len=16384", "-rss_limit_mb=1024", "-timeout=10"]
    done = subprocess.run([str(fuzzer), *options, str(corpus)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    # It has found its way behind the checks: inputs that reach more code than the golden plans.
    assert len(list(corpus.iterdir())) > given
