"""Cumulative budgets: CPU time, bytes written and sent, calls. Using one up ends the run in good order."""

from __future__ import annotations

from trimaran.sandbox.supervisor.usage import Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.sandbox.hooks import Call, Hooks

SIGTERM, SIGKILL = 15, 9
LOOK_NS = 50_000_000
GRACE_NS = 2_000_000_000
"""From the signal to end (SIGTERM) to the one that cannot be handled."""


class Budget:
    """What a run may use altogether; None is no limit. ``exceeded`` names what was used up first."""

    def __init__(
        self,
        hooks: Hooks,
        *,
        cpu_seconds: float | None = None,
        written: int | None = None,
        sent: int | None = None,
        calls: int | None = None,
        grace_ns: int = GRACE_NS,
    ) -> None:
        self.kernel = hooks.kernel
        self.limits = {
            "CPU seconds": cpu_seconds,
            "bytes written": written,
            "bytes sent": sent,
            "calls": calls,
        }
        self.grace = grace_ns
        self.written = 0
        self.exceeded = ""
        self.usage = Usage(self.kernel)
        if written is not None:
            for name in ("write", "pwrite64", "writev", "pwritev", "sendfile", "copy_file_range", "splice"):
                hooks.after(name, self._wrote)
        self.kernel.after(LOOK_NS, self._look)

    def _wrote(self, call: Call, result: int) -> None:
        self.written += max(0, result)
        limit = self.limits["bytes written"]
        if limit is not None and self.written > limit:
            self._end("bytes written")

    def used(self) -> dict[str, float]:
        """How much of each has been used."""
        return {
            "CPU seconds": sum(self.usage.cpu()) / 1e9,
            "bytes written": self.written,
            "bytes sent": self.kernel.network.bytes_sent,
            "calls": sum(self.kernel.counts.values()),
        }

    def _look(self) -> None:
        if self.exceeded:
            return
        used = self.used()
        for name, limit in self.limits.items():
            if limit is not None and used[name] > limit:
                self._end(name)
                return
        self.kernel.after(LOOK_NS, self._look)

    def _end(self, name: str) -> None:
        if self.exceeded:
            return
        self.exceeded = name
        self.kernel.log(f"the budget of {name} is used up: the sandbox is ended")
        self._signal_all(SIGTERM)
        self.kernel.after(self.grace, lambda: self._signal_all(SIGKILL))

    def _signal_all(self, number: int) -> None:
        self.kernel.settle_all()
        for process in list(self.kernel.processes.values()):
            self.kernel.signals.send(process, number)
