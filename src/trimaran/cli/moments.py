"""Moments as people write them."""

from __future__ import annotations

import time
from datetime import datetime

from trimaran.cli.options import UsageError
from trimaran.engine.sizes import parse_duration
from trimaran.errors import InvalidInput


def parse_moment(text: str) -> int:
    """Nanoseconds since the epoch from ``10m`` (ago), RFC 3339, or seconds since the epoch."""
    if text.replace(".", "", 1).isdigit():
        seconds, _, rest = text.partition(".")
        return int(seconds) * 1_000_000_000 + int(rest[:9].ljust(9, "0") or 0)
    if text[:1].isdigit() and "-" in text:
        try:
            parsed = datetime.fromisoformat(text.replace("Z", "+00:00"))
        except ValueError as error:
            raise UsageError(f"'{text}' is no time", why=str(error)) from None
        return int(parsed.timestamp() * 1_000_000) * 1000
    try:
        return time.time_ns() - int(parse_duration(text) * 1e9)
    except InvalidInput:
        raise UsageError(
            f"'{text}' is no time", hint="such as 10m, 2026-01-31T12:00:00Z or 1769860800"
        ) from None
