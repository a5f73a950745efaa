"""trimaran ps"""

from __future__ import annotations

from trimaran.cli.options import Command, Option
from trimaran.cli.output import LIST_OPTIONS, show_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments

COLUMNS = {
    "CONTAINER ID": "ID",
    "IMAGE": "Image",
    "COMMAND": "Command",
    "CREATED": "RunningFor",
    "STATUS": "Status",
    "PORTS": "Ports",
    "NAMES": "Names",
}
WIDE = {**COLUMNS, "ISOLATION": "Isolation", "PID": "Pid", "NETWORKS": "Networks", "MOUNTS": "Mounts"}


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.engine import listing

    filters = listing.parse_filters(args.filter)
    rows = listing.rows(
        context.engine().core,
        all=args.all or args.last > 0 or args.latest or bool(filters.get("status") or filters.get("exited")),
        filters=filters,
        truncate=not args.no_trunc,
        last=1 if args.latest else args.last,
        size=args.size,
    )
    columns = WIDE if args.output == "wide" else COLUMNS
    if args.size:
        columns = {**columns, "SIZE": "Size"}
    format = "json" if args.output == "json" else args.format
    show_list(context, rows, columns, format=format, quiet="ID" if args.quiet else "")
    return None


COMMAND = Command(
    run,
    options=[
        Option("-a", "--all", help="Also those that do not run"),
        Option("-n", "--last", metavar="N", convert=int, default=0, help="The last N that were created"),
        Option("-l", "--latest", help="The last one that was created"),
        Option("-s", "--size", help="What each has written"),
        *LIST_OPTIONS,
    ],
    description="Filters: id, name, label, status, exited, ancestor, before, since, network, volume,\n"
    "isolation, health, publish.",
    examples=[("ps -a --filter status=exited --format '{{.Names}}'", "The names of those that have ended")],
)
