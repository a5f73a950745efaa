"""How a system call ends when it does not simply return a number."""

from __future__ import annotations

from collections.abc import Sequence

from trimaran.sandbox.kernel.waiting import WaitQueue

ERESTARTSYS, ERESTARTNOHAND = 512, 514


class Fail(Exception):
    """The call fails with ``errno``."""

    def __init__(self, errno: int) -> None:
        self.errno = errno


class Block(Exception):
    """The call waits: its handler is run again when a queue is woken, or at ``deadline`` (monotonic ns).

    ``restart`` is what a signal makes of it: ERESTARTSYS (again, if the handler has SA_RESTART) or
    ERESTARTNOHAND (EINTR whenever a handler ran). ``done`` is what the call returns instead if it has moved
    that much already.
    """

    def __init__(
        self, queues: Sequence[WaitQueue], deadline: int | None = None, restart: int = ERESTARTSYS
    ) -> None:
        self.queues = queues
        self.deadline = deadline
        self.restart = restart
        self.done = 0


class Continue(Exception):
    """The host's kernel executes the call: all its arguments are in registers, or lead to own memory only."""


class Answered(Exception):
    """The call needs no answer: its caller goes on elsewhere, or is gone."""
