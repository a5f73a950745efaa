"""trimaran volume prune"""

from __future__ import annotations

from trimaran.cli.confirm import FILTER_OPTION
from trimaran.cli.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.cli.confirm import confirmed
    from trimaran.cli.volume_show import chosen
    from trimaran.engine import storage

    what = "all volumes" if args.all else "all anonymous volumes"
    if not confirmed(context, f"Remove {what} that no container uses?", force=args.force):
        return 1
    manager = storage.manager(context.engine().core)
    for volume in manager.prune(all=args.all, chosen=lambda volume: chosen(volume, args.filter)):
        context.print(volume.name)
    return None


COMMAND = Command(
    run,
    options=[
        Option("-a", "--all", help="Those with a name too"),
        FILTER_OPTION,
        Option("-f", "--force", help="Do not ask"),
    ],
)
