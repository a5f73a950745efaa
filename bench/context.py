"""What jobs are written against: the engines that take part, brought up when first needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.measure import Contestant, Failure, Series
from bench.peers import ENGINES, Engine
from bench.workspace import Workspace
from trimaran.errors import TrimaranError

Entry = Contestant | Series


@dataclass(frozen=True)
class Job:
    """One kind of work. ``entries`` yields those that take part, and a failed :class:`Series` for who can't.

    ``rounds`` and ``seconds`` bound the samples; whichever comes first. ``heavy`` jobs run when named, or
    with ``--all``.
    """

    name: str
    title: str
    unit: str
    entries: Callable[[Bench], Iterator[Entry]]
    rounds: int = 20
    seconds: float = 30
    lower_is_better: bool = True
    heavy: bool = False


class Bench:
    """One run of the benchmarks: the workspace, who takes part, and the engines that are up."""

    def __init__(self, wanted: frozenset[str], runtimes: dict[str, str]) -> None:
        self.workspace = Workspace()
        self.wanted = wanted
        self.runtimes = runtimes
        self.up: dict[str, Engine | Failure] = {}

    def close(self) -> None:
        for engine in self.up.values():
            if isinstance(engine, Engine):
                try:
                    engine.stop()
                except (OSError, subprocess.SubprocessError) as error:
                    print(f"bench: {engine.name} does not stop: {error}", file=sys.stderr)
        self.workspace.close()

    def engine(self, name: str) -> Engine:
        """The engine of that name with the base image pulled. Raises :class:`Failure`, each time alike."""
        if name not in self.up:
            try:
                self.up[name] = self.bring_up(name)
            except Failure as failure:
                self.up[name] = failure
        answer = self.up[name]
        if isinstance(answer, Failure):
            raise answer
        return answer

    def bring_up(self, name: str) -> Engine:
        kind = ENGINES[name]
        if not shutil.which(kind.program):
            raise Failure(f"{os.path.basename(kind.program)} is not installed")
        reference = self.workspace.base_image
        engine = kind(self.workspace)
        try:
            engine.start()
            engine.pull(reference)
        except Failure:
            engine.stop()
            raise
        return engine

    def engines(self, make: Callable[[Engine], Contestant]) -> Iterator[Entry]:
        """A contestant for each engine that takes part, as ``make`` makes it."""
        for name in ENGINES:
            if name in self.wanted:
                yield attempt(name, lambda name=name: make(self.engine(name)))  # type: ignore[misc]


def attempt(name: str, make: Callable[[], Contestant]) -> Entry:
    """What ``make`` makes, or a failed series with its reason."""
    try:
        return make()
    except (Failure, TrimaranError) as failure:
        return Series(name, failure=str(failure))
