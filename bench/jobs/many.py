"""Many containers: started at once, listed, kept running."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from functools import partial

from bench.context import Bench, Entry, Job
from bench.jobs.life import SLEEP, counter, remove
from bench.measure import Contestant, Failure, command
from bench.peers import Engine


def at_once(commands: Sequence[Sequence[str]], width: int) -> float:
    """Run the commands, at most ``width`` at a time; the milliseconds until the last has ended."""
    actions = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    begin = time.perf_counter_ns()
    running: set[int] = set()
    failed = 0
    for arguments in commands:
        running.add(os.posix_spawnp(arguments[0], list(arguments), os.environ, file_actions=actions))
        while len(running) >= width:
            failed += reap(running)
    while running:
        failed += reap(running)
    if failed:
        raise Failure(f"{failed} of {len(commands)} failed: {' '.join(commands[0])}")
    return (time.perf_counter_ns() - begin) / 1e6


def reap(running: set[int]) -> bool:
    pid, status = os.waitpid(next(iter(running)), 0)
    running.discard(pid)
    return status != 0


def parallel(bench: Bench, count: int) -> Iterator[Entry]:
    reference = bench.workspace.base_image

    def contestant(engine: Engine) -> Contestant:
        return Contestant(
            engine.name,
            lambda: at_once([engine.run_command(reference, ["/bin/true"]) for _ in range(count)], count),
        )

    yield from bench.engines(contestant)


def fill(engine: Engine, reference: str, count: int) -> list[str]:
    names = [f"many{next(counter)}" for _ in range(count)]
    at_once([engine.run_command(reference, SLEEP, name=name, detach=True) for name in names], 4)
    return names


def listing(bench: Bench, count: int) -> Iterator[Entry]:
    def contestant(engine: Engine) -> Contestant:
        names = fill(engine, bench.workspace.base_image, count)
        return Contestant(engine.name, partial(command, engine.list_command()), partial(empty, engine, names))

    yield from bench.engines(contestant)


def empty(engine: Engine, names: list[str]) -> None:
    for start in range(0, len(names), 50):
        remove(engine, *names[start : start + 50])


def density(bench: Bench, count: int) -> Iterator[Entry]:
    def contestant(engine: Engine) -> Contestant:
        def sample() -> float:
            begin = time.monotonic()
            names = fill(engine, bench.workspace.base_image, count)
            taken = time.monotonic() - begin
            empty(engine, names)
            return taken

        return Contestant(engine.name, sample)

    yield from bench.engines(contestant)


JOBS = (
    Job("parallel", "100 containers run at once by the command", "ms", partial(parallel, count=100), 2, 120),
    Job("list", "List with 100 containers", "ms", partial(listing, count=100), rounds=10),
    Job("list-1000", "List with 1,000 containers", "ms", partial(listing, count=1000), rounds=10, heavy=True),
    Job(
        "density",
        "500 containers kept running: time to start",
        "s",
        partial(density, count=500),
        1,
        600,
        heavy=True,
    ),
)
