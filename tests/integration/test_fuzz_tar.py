"""The tar parser under libFuzzer, with sanitizers: the corpus, then new inputs for a bounded time."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.peer("clang")

ROOT = Path(__file__).parents[2]
SOURCES = ["native/fuzz/tar.c", "native/ext/tar.c", "native/ext/tar_pax.c", "native/ext/tar_text.c"]
SECONDS = 600 if os.environ.get("TRIMARAN_SOAK") else 15


@pytest.fixture
def fuzzer(tmp_path: Path) -> Path:
    target = tmp_path / "fuzz"
    flags = ["-g", "-O1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all", "-D_GNU_SOURCE"]
    subprocess.run(["clang", *flags, "-Inative/ext", *SOURCES, "-o", str(target)], cwd=ROOT, check=True)
    return target


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 120)
def test_the_parser_keeps_its_promises(fuzzer: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    shutil.copytree(ROOT / "tests" / "corpus" / "tar", corpus)
    command = [
        str(fuzzer),
        f"-max_total_time={SECONDS}",
        "-max_len=32768",
        "-rss_limit_mb=1024",
        "-timeout=10",
    ]
    done = subprocess.run([*command, str(corpus)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list(corpus.iterdir())) > 50
