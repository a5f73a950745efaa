"""trimaran history"""

from __future__ import annotations

from trimaran.cli.options import Argument, Command
from trimaran.cli.output import FORMAT_OPTION, NO_TRUNC_OPTION, QUIET_OPTION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


COLUMNS = {
    "IMAGE": "ID",
    "CREATED": "CreatedSince",
    "CREATED BY": "CreatedBy",
    "SIZE": "Size",
    "COMMENT": "Comment",
}


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.cli.image_show import history
    from trimaran.cli.output import show_list

    rows = history(context.engine().images.get(args.image), truncate=not args.no_trunc)
    show_list(context, rows, COLUMNS, format=args.format, quiet="ID" if args.quiet else "")
    return None


COMMAND = Command(
    run,
    arguments=[Argument("IMAGE")],
    options=[FORMAT_OPTION, NO_TRUNC_OPTION, QUIET_OPTION],
    description="The newest first; sizes are as transferred.",
)
