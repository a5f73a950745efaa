"""trimaran volume ls"""

from __future__ import annotations

from trimaran.cli.options import Command
from trimaran.cli.output import LIST_OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments

COLUMNS = {"DRIVER": "Driver", "VOLUME NAME": "Name"}
WIDE = {
    **COLUMNS,
    "CREATED": "CreatedAt",
    "USED BY": "UsedBy",
    "LABELS": "Labels",
    "MOUNTPOINT": "Mountpoint",
}


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.cli.output import show_list
    from trimaran.cli.volume_show import chosen, document
    from trimaran.engine import storage

    volumes = storage.manager(context.engine().core).volumes()
    rows = [document(volume) for volume in volumes if chosen(volume, args.filter)]
    wide = args.output == "wide"
    form = "json" if args.output == "json" else args.format
    show_list(context, rows, WIDE if wide else COLUMNS, format=form, quiet="Name" if args.quiet else "")
    return None


COMMAND = Command(
    run,
    options=[*LIST_OPTIONS],
    examples=[("volume ls --filter dangling=true -q", "The names of those that no container uses")],
)
