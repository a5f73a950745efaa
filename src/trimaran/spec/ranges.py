"""Lists of numbers as the kernel writes them for CPUs and memory nodes: ``0-3,7`` (cpuset(7))."""

from __future__ import annotations

from trimaran.errors import SpecError

MAX_NUMBER = 8191
"""The kernel's largest NR_CPUS is 8192."""


def parse(text: str, path: str) -> list[int]:
    """The numbers of the list, each once, in order. Raises SpecError that names ``path``."""
    found: set[int] = set()
    for part in text.split(",") if text.strip() else []:
        low, dash, high = part.strip().partition("-")
        if not (_is_number(low) and (not dash or _is_number(high))):
            raise SpecError(path, f'expected a list such as 0-3,7, not "{text[:60]}"')
        first, last = int(low), int(high or low)
        if first > last or last > MAX_NUMBER:
            raise SpecError(path, f'"{part.strip()}" is no range from 0 to {MAX_NUMBER}')
        found.update(range(first, last + 1))
    return sorted(found)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 6
