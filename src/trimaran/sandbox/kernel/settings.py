"""What a sandbox is made with: plain data, from the OCI configuration or the library's caller."""

from __future__ import annotations


class Settings:
    """``network`` is ``none``, ``host`` or ``path`` (a network namespace); ``rules`` are a policy for it.

    ``memory_limit`` is in bytes, ``max_tasks`` counts threads; 0 is no limit. ``durable`` makes fsync reach
    the disk. ``without_native`` names calls to be notified although the policy allows them.
    """

    def __init__(self) -> None:
        self.hostname = "sandbox"
        self.domainname = "(none)"
        self.vdso = True
        self.durable = False
        self.memory_limit = 0
        self.max_tasks = 0
        self.network = "none"
        self.network_path = ""
        self.rules: list[str] = []
        self.without_native: frozenset[str] = frozenset()
