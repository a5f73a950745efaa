"""Pulling and unpacking an image, from a registry on loopback to tmpfs."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bench.context import Bench, Entry, Job
from bench.measure import Contestant, Failure, command
from bench.peers import Engine
from bench.workspace import layer

BYTES = 64 << 20
SMALL_FILES = 20_000
TREES = ("/usr/lib/python3.11", "/usr/lib/x86_64-linux-gnu", "/usr/bin")


def real_files(limit: int) -> dict[str, bytes]:
    """Files of this machine, as images hold them (programs, libraries, modules), to ``limit`` bytes."""
    files: dict[str, bytes] = {}
    total = 0
    for path in itertools.chain.from_iterable(sorted(Path(tree).rglob("*")) for tree in TREES):
        if path.is_symlink() or not path.is_file():
            continue
        files[str(path)[1:]] = content = path.read_bytes()
        total += len(content)
        if total > limit:
            return files
    if not files:
        raise Failure(f"nothing to make an image of under {', '.join(TREES)}")
    return files


def one() -> list[bytes]:
    return [layer(real_files(BYTES))]


def five() -> list[bytes]:
    files = list(real_files(BYTES).items())
    return [layer(dict(files[number::5])) for number in range(5)]


def small() -> list[bytes]:
    source = random.Random(7)
    return [
        layer({f"srv/{n % 200}/{n}": source.randbytes(512) + b" " * 512 for n in range(SMALL_FILES)}, 0o644)
    ]


def pull(bench: Bench, name: str, layers: Callable[[], list[bytes]]) -> Iterator[Entry]:
    reference = bench.workspace.image(f"bench/{name}:1", layers())

    def contestant(engine: Engine) -> Contestant:
        pulled = False

        def sample() -> float:
            nonlocal pulled
            if pulled:
                engine.drop_image(reference)
            taken = command(engine.pull_command(reference))
            pulled = True
            return taken

        def close() -> None:
            if pulled:
                engine.drop_image(reference)

        return Contestant(engine.name, sample, close)

    yield from bench.engines(contestant)


JOBS = (
    Job(
        "pull-one",
        "Pull and unpack 64 MiB in one layer",
        "ms",
        partial(pull, name="one", layers=one),
        rounds=5,
    ),
    Job(
        "pull-five",
        "Pull and unpack 64 MiB in five layers",
        "ms",
        partial(pull, name="five", layers=five),
        rounds=5,
    ),
    Job(
        "pull-small",
        "Pull and unpack 20,000 small files",
        "ms",
        partial(pull, name="small", layers=small),
        rounds=5,
    ),
)
