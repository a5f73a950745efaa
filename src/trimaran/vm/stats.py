"""What the guest's cgroup files say, as :class:`trimaran.isolation.Stats`.

The texts are a guest's: hostile input.
"""

from __future__ import annotations

from collections.abc import Mapping

from trimaran.isolation import Stats

_LIMIT = 1 << 63


def parse(files: Mapping[str, str]) -> Stats:
    """Statistics from the texts of cgroup v2 files; what is missing or malformed counts as 0."""
    cpu = _table(files.get("cpu.stat", ""))
    memory = _table(files.get("memory.stat", ""))
    return Stats(
        cpu_ns=cpu.get("usage_usec", 0) * 1000,
        cpu_user_ns=cpu.get("user_usec", 0) * 1000,
        cpu_system_ns=cpu.get("system_usec", 0) * 1000,
        throttled_ns=cpu.get("throttled_usec", 0) * 1000,
        memory=_number(files.get("memory.current", "")),
        memory_limit=_number(files.get("memory.max", "")),
        memory_inactive_file=memory.get("inactive_file", 0),
        oom_kills=_table(files.get("memory.events", "")).get("oom_kill", 0),
        pids=_number(files.get("pids.current", "")),
        pids_limit=_number(files.get("pids.max", "")),
        read_bytes=_sum(files.get("io.stat", ""), "rbytes="),
        written_bytes=_sum(files.get("io.stat", ""), "wbytes="),
    )


def _number(text: str) -> int:
    text = text.strip()
    return min(int(text), _LIMIT) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def _table(text: str) -> dict[str, int]:
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: _number(pair[1]) for pair in pairs if len(pair) == 2}


def _sum(text: str, key: str) -> int:
    return sum(_number(word[len(key) :]) for word in text.split() if word.startswith(key))
