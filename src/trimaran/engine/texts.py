"""Numbers as people read them."""

from __future__ import annotations


def size(count: float) -> str:
    """Bytes for people, in powers of ten: ``12.3MB``."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while count >= 1000 and len(units) > 1:
        count /= 1000
        units.pop(0)
    return f"{count:.0f}B" if units[0] == "B" else f"{count:.3g}{units[0]}"


def ago(seconds: float) -> str:
    """A length of time for people: ``5 minutes``."""
    if seconds < 1:
        return "Less than a second"
    unit, length = next((unit, length) for unit, length, until in _SPANS if seconds < until)
    count = int(seconds // length)
    return f"{count} {unit}" + ("" if count == 1 else "s")


_SPANS = (
    ("second", 1, 60.0),
    ("minute", 60, 3600.0),
    ("hour", 3600, 48 * 3600.0),
    ("day", 86400, 14 * 86400.0),
    ("week", 7 * 86400, 60 * 86400.0),
    ("month", 30 * 86400, 730 * 86400.0),
    ("year", 365 * 86400, float("inf")),
)
