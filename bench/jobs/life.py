"""A running container: exec, remove, logs, and what it costs in memory to keep one."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from functools import partial

from bench.context import Bench, Entry, Job
from bench.measure import Contestant, command, quiet
from bench.peers import Engine
from bench.peers.engine import proportional_set

SLEEP = ["/bin/sleep", "100000"]
LOG_MEGABYTES = 64
LINE = "a line of a log that is as long as the lines of logs often are, a hundred or so characters, all told"
counter = itertools.count()


def idle(engine: Engine, reference: str) -> str:
    """Start a container that sleeps; its name."""
    name = f"idle{next(counter)}"
    command(engine.run_command(reference, SLEEP, name=name, detach=True))
    return name


def remove(engine: Engine, *names: str) -> None:
    quiet(engine.remove_command(names))


def execute(bench: Bench) -> Iterator[Entry]:
    def contestant(engine: Engine) -> Contestant:
        name = idle(engine, bench.workspace.base_image)
        # The arguments are made for each sample: ctr wants another id each time.
        return Contestant(
            engine.name,
            lambda: command(engine.exec_command(name, ["/bin/true"])),
            partial(remove, engine, name),
        )

    yield from bench.engines(contestant)


def removal(bench: Bench) -> Iterator[Entry]:
    reference = bench.workspace.base_image
    yield from bench.engines(
        lambda engine: Contestant(
            engine.name, lambda: command(engine.remove_command([idle(engine, reference)]))
        )
    )


def throughput(bench: Bench) -> Iterator[Entry]:
    script = f"yes '{LINE}' | head -c {LOG_MEGABYTES << 20}"

    def contestant(engine: Engine) -> Contestant:
        engine.logs_command("probe")
        arguments = engine.run_command(bench.workspace.base_image, ["/bin/sh", "-c", script])
        return Contestant(engine.name, lambda: LOG_MEGABYTES / (command(arguments) / 1000))

    yield from bench.engines(contestant)


def memory(bench: Bench, count: int) -> Iterator[Entry]:
    def contestant(engine: Engine) -> Contestant:
        def sample() -> float:
            names = [idle(engine, bench.workspace.base_image) for _ in range(count)]
            time.sleep(0.5)
            total = sum(proportional_set(pid) for pid in engine.resident())
            remove(engine, *names)
            return total

        return Contestant(engine.name, sample)

    yield from bench.engines(contestant)


JOBS = (
    Job("exec", "The command: exec a static true in a running container", "ms", execute),
    Job("remove", "The command: rm -f of a running container", "ms", removal, rounds=10),
    Job(
        "logs",
        "Lines of output kept in a log and shown",
        "MiB/s",
        throughput,
        rounds=3,
        lower_is_better=False,
    ),
    Job(
        "memory-1",
        "Memory that stays (PSS) for one idle container",
        "MiB",
        partial(memory, count=1),
        rounds=3,
    ),
    Job(
        "memory-10",
        "Memory that stays (PSS) for ten idle containers",
        "MiB",
        partial(memory, count=10),
        rounds=2,
    ),
)
