"""Samples, their medians and spread, and the loop that takes them in turn."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from trimaran.errors import TrimaranError

OUR_NAME = "trimaran"
# Seconds before each sample, in which what the last contestant left to a daemon is done.
PAUSE = 0.05


class Failure(Exception):
    """A contestant could not do the work; the message says why."""


@dataclass
class Contestant:
    """One taker of a job. ``sample`` does the work once and returns the figure in the job's unit."""

    name: str
    sample: Callable[[], float]
    close: Callable[[], None] = lambda: None


@dataclass
class Series:
    """What one contestant came to: its samples, or why it failed."""

    name: str
    samples: list[float] = field(default_factory=list)
    failure: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """The quartiles; both are the sample when there is only one."""
        if len(self.samples) < 2:
            return self.samples[0], self.samples[0]
        low, _, high = statistics.quantiles(self.samples, n=4, method="inclusive")
        return low, high


@dataclass
class Result:
    """A job's outcome. ``lower_is_better`` tells which way a ratio speaks for us."""

    job: str
    title: str
    unit: str
    lower_is_better: bool
    series: list[Series]

    def ratio(self, series: Series) -> float | None:
        """How many times better we are than ``series``; None where it cannot be said."""
        ours = next((s for s in self.series if s.name.startswith(OUR_NAME) and s.samples), None)
        if ours is None or not series.samples or 0 in (ours.median, series.median):
            return None
        return series.median / ours.median if self.lower_is_better else ours.median / series.median


def interleave(contestants: Sequence[Contestant], rounds: int, seconds: float) -> list[Series]:
    """Take samples in rounds, each round in another order, until ``rounds`` or ``seconds`` are used up.

    The first sample of each is a warm-up and not kept. One that fails is out, and marked as failed.
    """
    series = {contestant.name: Series(contestant.name) for contestant in contestants}
    begin = time.monotonic()
    for number in range(rounds + 1):
        start = number % len(contestants) if contestants else 0
        for contestant in [*contestants[start:], *contestants[:start]]:
            one = series[contestant.name]
            if one.failure:
                continue
            time.sleep(PAUSE)
            try:
                value = contestant.sample()
            except (Failure, TrimaranError) as failure:
                one.failure, one.samples = str(failure), []
                continue
            if number:
                one.samples.append(value)
        if number and time.monotonic() - begin > seconds:
            break
    return list(series.values())


@contextlib.contextmanager
def closing(contestants: Sequence[Contestant]) -> Iterator[None]:
    try:
        yield
    finally:
        for contestant in contestants:
            try:
                contestant.close()
            except Failure as failure:
                print(f"bench: {contestant.name}: cleaning up: {failure}", file=sys.stderr)


def command(arguments: Sequence[str], *, status: int = 0, log: str = os.devnull) -> float:
    """Run a command to its end and return the milliseconds taken. Another status is a :class:`Failure`."""
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    begin = time.perf_counter_ns()
    try:
        pid = os.posix_spawnp(arguments[0], list(arguments), os.environ, file_actions=files)
    except OSError as error:
        raise Failure(f"{arguments[0]}: {error.strerror}") from None
    _, ended = os.waitpid(pid, 0)
    taken = time.perf_counter_ns() - begin
    if os.waitstatus_to_exitcode(ended) != status:
        raise Failure(f"{os.path.basename(arguments[0])}: {diagnose(arguments)}")
    return taken / 1e6


def diagnose(arguments: Sequence[str]) -> str:
    """What a failing command says: it's run once more, with its output kept."""
    done = subprocess.run(arguments, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    lines = (done.stderr or done.stdout).strip().splitlines()
    return f"exit status {done.returncode}: {lines[-1] if lines else 'no message'}"


def quiet(arguments: Sequence[str], *, timeout: float = 120) -> str:
    """Run a command that isn't measured; its output. Raises :class:`Failure`."""
    try:
        done = subprocess.run(
            arguments, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, timeout=timeout
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failure(f"{arguments[0]}: {error}") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        said = lines[-1] if lines else f"exit status {done.returncode}"
        raise Failure(f"{os.path.basename(arguments[0])}: {said}")
    return done.stdout
