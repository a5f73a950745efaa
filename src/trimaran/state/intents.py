"""Intents: what a process was about to do, so that another can finish or undo it."""

from __future__ import annotations

import os

from trimaran.linux.processes import start_time


class Intent:
    """One announced change. ``kind`` names the step, ``subject`` its object, ``payload`` is JSON data."""

    __slots__ = ("id", "kind", "owner", "payload", "subject")

    def __init__(self, id: int, kind: str, subject: str, payload: dict[str, object], owner: str) -> None:
        self.id = id
        self.kind = kind
        self.subject = subject
        self.payload = payload
        self.owner = owner

    def abandoned(self) -> bool:
        """Whether the process that announced it no longer runs (or the host was started anew)."""
        return not owner_alive(self.owner)


def boot_id() -> str:
    """The identity of this boot of the host: proc(5), /proc/sys/kernel/random/boot_id."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


_identity: tuple[int, str] | None = None


def owner_identity() -> str:
    """This process as ``boot:pid:start``, which no other process ever has."""
    global _identity
    pid = os.getpid()
    if _identity is None or _identity[0] != pid:
        _identity = pid, f"{boot_id()}:{pid}:{start_time(pid)}"
    return _identity[1]


def owner_alive(owner: str) -> bool:
    """Whether the process named by :func:`owner_identity` still runs."""
    boot, pid, started = owner.split(":")
    return boot == boot_id() and str(start_time(int(pid))) == started
