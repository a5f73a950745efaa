"""Progress of transfers: what happens to each item, for bars, plain lines and machines alike."""

from __future__ import annotations

from typing import Protocol

RESOLVING = "resolving"
WAITING = "waiting"
PULLING = "pulling"
RETRYING = "retrying"
UNPACKING = "unpacking"
EXISTS = "exists"
PUSHING = "pushing"
MOUNTED = "mounted"
DONE = "done"


class Progress(Protocol):
    """Called from several threads. Cheap calls may come a thousand times a second: throttle when showing."""

    def update(self, item: str, phase: str, done: int = 0, total: int = 0) -> None:
        """``item`` (a digest or a reference) is in a phase, with ``done`` of ``total`` bytes (0: unknown)."""


class Quiet:
    """Shows nothing."""

    def update(self, item: str, phase: str, done: int = 0, total: int = 0) -> None:
        """Do nothing."""
