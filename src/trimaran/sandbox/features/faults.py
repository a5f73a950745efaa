"""Faults on purpose: the nth call of a kind fails, or connections are slow."""

from __future__ import annotations

import time

from trimaran.errors import InvalidInput
from trimaran.sandbox.hooks import Call, Hooks, Verdict, deny
from trimaran.sandbox.kernel.outcome import Block

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Fault:
    """Lets call ``name`` fail with ``errno``, from its ``first`` occurrence on, ``count`` times.

    ``matching`` says which calls are counted; without it all are. ``hits`` counts the failures.
    """

    def __init__(
        self,
        hooks: Hooks,
        name: str,
        errno: int,
        *,
        first: int = 1,
        count: int = 1,
        matching: Callable[[Call], bool] | None = None,
    ) -> None:
        if first < 1 or count < 1:
            raise InvalidInput(
                "a fault begins with the first call at the earliest, and happens once at least"
            )
        self.errno = errno
        self.first = first
        self.count = count
        self.matching = matching
        self.seen = self.hits = 0
        hooks.before(name, self._before)

    def _before(self, call: Call) -> Verdict | None:
        if self.matching is not None and not self.matching(call):
            return None
        self.seen += 1
        if not self.first <= self.seen < self.first + self.count:
            return None
        self.hits += 1
        return deny(self.errno, f"fault {self.hits} of {self.count} on purpose")


class SlowConnections:
    """Every connect takes ``seconds`` longer."""

    def __init__(self, hooks: Hooks, seconds: float) -> None:
        if seconds < 0:
            raise InvalidInput("a delay cannot be negative")
        self.delay = int(seconds * 10**9)
        self.until: dict[int, int] = {}
        hooks.connections(self._wait)

    def _wait(self, call: Call) -> None:
        due = self.until.setdefault(call.tid, time.monotonic_ns() + self.delay)
        if time.monotonic_ns() < due:
            raise Block((), due)
        del self.until[call.tid]
