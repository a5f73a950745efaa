"""Sizes and lengths of time as people write them."""

from __future__ import annotations

from trimaran.errors import InvalidInput

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_size(text: str) -> int:
    """Bytes from ``64m``, ``1.5g``, ``512`` (powers of 1024, as docker). Raises :class:`InvalidInput`."""
    lowered = text.strip().lower()
    if lowered == "-1":
        return -1
    digits = lowered.rstrip("bkmgtpi")
    unit = lowered[len(digits) :].removesuffix("b").removesuffix("i")
    try:
        return int(float(digits) * _UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        raise InvalidInput(f"'{text}' is no size", hint="such as 512, 64m or 1.5g") from None


def parse_duration(text: str) -> float:
    """Seconds from ``10``, ``1.5s``, ``1m30s``, ``500ms``. Raises :class:`InvalidInput`."""
    total, number, unit = 0.0, "", ""
    try:
        for character in text.strip() + "\0":
            if character.isdigit() or character in ".\0":
                if unit:
                    total += float(number) * _SECONDS[unit]
                    number, unit = "", ""
                number += character.rstrip("\0")
            else:
                unit += character
        return total + (float(number) if number else 0.0)
    except (ValueError, KeyError):
        raise InvalidInput(f"'{text}' is no length of time", hint="such as 10, 1.5s or 1m30s") from None
