"""events: what the container uses, once or again and again, and its lack of memory (runc's JSON lines)."""

from __future__ import annotations

import sys

from trimaran.errors import Conflict, InvalidInput
from trimaran.runtime import lifecycle
from trimaran.runtime.cgroups import report, watch
from trimaran.runtime.command import Context, only_id, read_options
from trimaran.runtime.options import Option
from trimaran.spec import jsonio

OPTIONS = (
    Option("interval", "value", "time between two reports", metavar="TIME", default="5s"),
    Option("stats", "flag", "report once, and exit"),
)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def run(context: Context, name: str, words: list[str]) -> int:
    options, rest = read_options(name, words, OPTIONS, "[options] ID")
    id = only_id(name, rest)
    interval = seconds(options.value("interval", "5s"))
    with context.store.open(id) as entry:
        state = entry.read()
        if lifecycle.status(entry, state) == "stopped":
            raise Conflict(f"container {id} cannot be observed", why="it is not running")
    if options.given("stats"):
        _print(id, "stats", report.stats(state["cgroups"], state["pid"]))
        return 0
    for kind in watch.events(state["cgroups"], state["pid"], interval):
        _print(id, kind, report.stats(state["cgroups"], state["pid"]) if kind == "stats" else None)
    return 0


def _print(id: str, kind: str, data: object) -> None:
    event: dict[str, object] = {"type": kind, "id": id}
    if data is not None:
        event["data"] = data
    sys.stdout.write(jsonio.dump(event) + "\n")
    sys.stdout.flush()


def seconds(text: str) -> float:
    """A time such as ``5s``, ``100ms`` or ``1m30s``. Raises InvalidInput unless it is above zero."""
    total, rest = 0.0, text
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        unit = next((u for u in ("ms", "s", "m", "h") if rest[digits:].startswith(u)), "")
        try:
            total += float(rest[:digits]) * _UNITS[unit]
        except (KeyError, ValueError):
            raise InvalidInput(f"{text!r} is no time", hint="such as 5s or 500ms") from None
        rest = rest[digits + len(unit) :]
    if total <= 0:
        raise InvalidInput("--interval takes a time above zero", why=f"{text!r} is none")
    return total
