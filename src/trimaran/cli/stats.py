"""trimaran stats"""

from __future__ import annotations

import time

from trimaran.cli.options import Argument, Command, Option
from trimaran.cli.output import FORMAT_OPTION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments
    from trimaran.isolation import Stats

COLUMNS = {
    "CONTAINER ID": "ID",
    "NAME": "Name",
    "CPU %": "CPUPerc",
    "MEM USAGE / LIMIT": "MemUsage",
    "MEM %": "MemPerc",
    "BLOCK I/O": "BlockIO",
    "PIDS": "PIDs",
}
_SECONDS = 1.0


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.cli.output import show_list

    before = _sample(context, args)
    while True:
        began = time.monotonic()
        time.sleep(_SECONDS if not args.no_stream else 0.2)
        now = _sample(context, args)
        elapsed = time.monotonic() - began
        rows = [_row(key, now[key], before.get(key), elapsed) for key in now]
        if not args.no_stream and context.colour():
            context.print("\x1b[H\x1b[J", end="")
        show_list(context, rows, COLUMNS, format=args.format)
        if args.no_stream:
            return None
        before = now


def _sample(context: Context, args: Arguments) -> Mapping[tuple[str, str], Stats]:
    from trimaran.errors import NotFound

    engine = context.engine()
    chosen = [engine.get(name) for name in args.container] or engine.containers(all=args.all)
    found = {}
    for container in chosen:
        record = container.record
        if record.state not in ("running", "paused"):
            continue
        try:
            found[record.id, record.name] = engine.core.isolations.get(record.isolation).stats(record.id)
        except NotFound:
            continue
    return found


def _row(key: tuple[str, str], now: Stats, before: Stats | None, elapsed: float) -> dict[str, Any]:
    from trimaran.cli.output import size

    busy = (now.cpu_ns - before.cpu_ns) / 1e9 / elapsed if before else 0.0
    used = max(0, now.memory - now.memory_inactive_file)
    limit = now.memory_limit or _host_memory()
    return {
        "ID": key[0][:12],
        "Name": key[1],
        "CPUPerc": f"{busy * 100:.2f}%",
        "MemUsage": f"{size(used)} / {size(limit)}",
        "MemPerc": f"{used * 100 / limit:.2f}%",
        "BlockIO": f"{size(now.read_bytes)} / {size(now.written_bytes)}",
        "PIDs": now.pids,
    }


def _host_memory() -> int:
    import os

    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


COMMAND = Command(
    run,
    arguments=[Argument("CONTAINER", many=True, optional=True)],
    options=[
        Option("-a", "--all", help="Look at all containers for those that run"),
        Option("--no-stream", help="Once, not on and on"),
        FORMAT_OPTION,
    ],
)
