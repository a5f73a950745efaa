"""What a sandbox is made with: plain data, from the OCI configuration or the library's caller."""

from __future__ import annotations


class Settings:
    """Everything that does not change while the sandbox runs, but for the host name."""

    def __init__(self) -> None:
        self.hostname = "sandbox"
        self.domainname = "(none)"
        self.vdso = True
        self.durable = False
        self.memory_limit = 0
        self.max_tasks = 0
        self.network = "none"
        self.without_native: frozenset[str] = frozenset()
