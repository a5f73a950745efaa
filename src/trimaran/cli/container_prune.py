"""trimaran container prune"""

from __future__ import annotations

from trimaran.cli.options import Command
from trimaran.cli.output import FILTER_OPTION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.engine import ending, listing

    core = context.engine().core
    for record in listing.select(core, all=True, filters=listing.parse_filters(args.filter)):
        if record.state in ("created", "exited"):
            ending.remove(core, record.id)
            context.print(record.id)
    return None


COMMAND = Command(run, options=[FILTER_OPTION], description="Removes all containers that do not run.")
