"""Wait queues, and the calls that are parked on them. Nothing here blocks."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from trimaran.sandbox.kernel.task import Task


class Parked:
    """A call that waits for one of its queues, or for its deadline (monotonic nanoseconds)."""

    __slots__ = ("args", "call", "deadline", "interrupted", "listener", "number", "queues", "since", "task")

    def __init__(self, task: Task, number: int, args: tuple[int, ...]) -> None:
        self.task = task
        self.listener = task.listener
        self.call = task.call
        self.number = number
        self.args = args
        self.queues: tuple[WaitQueue, ...] = ()
        self.deadline: int | None = None
        self.interrupted = 0
        self.since = time.monotonic_ns()


class WaitQueue:
    """Parked calls and observers (epoll items, asynchronous readers) of one object."""

    __slots__ = ("observers", "parked")

    ready: list[Parked] = []
    """Calls to try again, of all queues; the dispatcher drains it."""

    def __init__(self) -> None:
        self.parked: set[Parked] = set()
        self.observers: list[Callable[[], None]] = []

    def wake(self) -> None:
        """Let every parked call try again, and tell the observers."""
        if self.parked:
            self.ready.extend(self.parked)
        for observer in tuple(self.observers):
            observer()
