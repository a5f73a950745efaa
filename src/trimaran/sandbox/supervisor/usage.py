"""What a sandbox uses, and the limits of it that the supervisor keeps itself."""

from __future__ import annotations

import os
import resource
import time

from trimaran.linux import _sys
from trimaran.sandbox import abi
from trimaran.sandbox.kernel.signals import SIGKILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from trimaran.sandbox.kernel.kernel import Kernel

PAGE = os.sysconf("SC_PAGE_SIZE")
TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")
LOOK_NS = 50_000_000
"""How often memory is looked at while it is limited."""


class Usage:
    """CPU time, memory and tasks of a sandbox."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.oom_kills = 0
        self.past = (0, 0)
        self.looking = False

    def ended(self) -> None:
        """A process of ours was reaped: its time, and that of those it waited for, is in our children's."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.past = int(used.ru_utime * 10**9), int(used.ru_stime * 10**9)

    def cpu(self) -> tuple[int, int]:
        """User and system time of all processes so far, in nanoseconds."""
        user, system = self.past
        for process in list(self.kernel.processes.values()):
            fields = _stat(process.host)
            if fields:
                user += (int(fields[11]) + int(fields[13])) * TICK_NS
                system += (int(fields[12]) + int(fields[14])) * TICK_NS
        return user, system

    def memory(self) -> int:
        """Bytes of private memory of all processes."""
        total = 0
        for process in list(self.kernel.processes.values()):
            try:
                with open(f"/proc/{process.host}/statm", "rb") as file:
                    words = file.read().split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            total += (int(words[1]) - int(words[2])) * PAGE
        return total

    def enforce(self) -> None:
        """While memory is limited, look at it often; the largest process goes when it is too much."""
        if self.kernel.settings.memory_limit and not self.looking:
            self.looking = True
            self.kernel.after(LOOK_NS, self._look)

    def _look(self) -> None:
        self.looking = False
        if self.memory() <= self.kernel.settings.memory_limit:
            return
        victim = max(self.kernel.processes.values(), key=lambda p: _resident(p.host), default=None)
        if victim is not None:
            self.oom_kills += 1
            self.kernel.log(f"out of memory: process {victim.pid} ({victim.name()}) is killed")
            _sys.send_signal(victim.pidfd, SIGKILL)

    def report(self) -> dict[str, Any]:
        """The answer to ``stats``."""
        kernel = self.kernel
        user, system = self.cpu()
        own = time.process_time_ns()
        return {
            "cpu_ns": user + system + own,
            "cpu_user_ns": user,
            "cpu_system_ns": system + own,
            "memory": self.memory(),
            "memory_limit": kernel.settings.memory_limit,
            "oom_kills": self.oom_kills,
            "pids": len(kernel.tasks),
            "pids_limit": kernel.settings.max_tasks,
            "calls": {abi.NAMES.get(n, str(n)): count for n, count in sorted(kernel.counts.items())},
            "not_implemented": dict(kernel.unknown),
            "faults": kernel.faults,
            "denials": kernel.denials[-100:],
            "bytes_sent": kernel.network.bytes_sent,
            "bytes_received": kernel.network.bytes_received,
            "connections": kernel.network.connections,
            "connections_refused": kernel.network.refused,
        }


def _stat(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rsplit(b")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _resident(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[21]) if fields else 0
