"""trimaran logs"""

from __future__ import annotations

import os

from trimaran.cli.options import Argument, Command, Option, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    container = context.engine().get(args.container)
    tail = None if args.tail in (None, "all") else _number(args.tail)
    records = container.logs(
        follow=args.follow, since=moment(args.since), until=moment(args.until), tail=tail
    )
    fresh = {"stdout": True, "stderr": True}
    for record in records:
        fd = 2 if record.stream == "stderr" else 1
        stamp = f"{record.time} ".encode() if args.timestamps and fresh[record.stream] else b""
        fresh[record.stream] = record.ends_line
        data = memoryview(stamp + record.data)
        while data:
            data = data[os.write(fd, data) :]
    return None


def _number(text: str) -> int:
    if not text.isdigit():
        raise UsageError(f"--tail {text}", why="neither a number nor 'all'")
    return int(text)


def moment(text: str | None) -> str:
    """``10m`` ago, seconds since the epoch, or RFC 3339, as the log has it; "" for none."""
    if not text:
        return ""
    from trimaran.cli.moments import parse_moment
    from trimaran.monitor.logs import stamp

    return stamp(parse_moment(text))


COMMAND = Command(
    run,
    arguments=[Argument("CONTAINER")],
    options=[
        Option("-f", "--follow", help="Go on until it exits"),
        Option("-n", "--tail", metavar="LINES", help="Only the last so many lines"),
        Option("-t", "--timestamps", help="Show when each line was written"),
        Option("--since", metavar="TIME", help="From then on: 10m (ago), 2026-01-31T12:00:00Z, or seconds"),
        Option("--until", metavar="TIME", help="Until then"),
    ],
)
