"""Waiting for what happens to a container: its end, a lack of memory, the time for the next report."""

from __future__ import annotations

import os
import select
import time

from trimaran.runtime.cgroups.control import find
from trimaran.runtime.cgroups.stats import table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class _Memory:
    """Tells of kills for lack of memory: an eventfd in v1, a file that can be polled in v2."""

    def __init__(self, directories: list[str]) -> None:
        self.fd = self.control = -1
        self.events = 0
        self.seen = 0
        if directory := find(directories, "memory.oom_control"):
            self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self.events = select.POLLIN
            self.control = os.open(f"{directory}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
            with open(f"{directory}/cgroup.event_control", "w") as file:
                file.write(f"{self.fd} {self.control}")
        elif directory := find(directories, "memory.events"):
            self.fd = os.open(f"{directory}/memory.events", os.O_RDONLY | os.O_CLOEXEC)
            self.events = select.POLLPRI
            self.seen = table(directory, "memory.events").get("oom_kill", 0)

    def happened(self) -> bool:
        """Whether there was one since this was last asked, after the descriptor had something to say."""
        if self.control >= 0:
            os.eventfd_read(self.fd)
            # Removing the cgroup signals too.
            try:
                os.stat(f"/proc/self/fd/{self.control}")
                return bool(os.pread(self.control, 1, 0))
            except OSError:
                return False
        try:
            text = os.pread(self.fd, 4096, 0).decode()
        except OSError:
            return False
        kills = next((int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill ")), 0)
        before, self.seen = self.seen, kills
        return kills > before

    def close(self) -> None:
        for fd in (self.fd, self.control):
            if fd >= 0:
                os.close(fd)


def events(directories: list[str], pid: int, interval: float) -> Iterator[str]:
    """``stats`` at once and after each interval (seconds), ``oom`` when it happens; ends with the process."""
    pidfd = os.pidfd_open(pid)
    memory = _Memory(directories)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if memory.fd >= 0:
        poll.register(memory.fd, memory.events)
    due = time.monotonic()
    try:
        while True:
            ready = dict(poll.poll(max(0, int((due - time.monotonic()) * 1000))))
            if memory.fd in ready and memory.happened():
                yield "oom"
            if pidfd in ready:
                return
            if time.monotonic() >= due:
                yield "stats"
                due += interval
    finally:
        memory.close()
        os.close(pidfd)
