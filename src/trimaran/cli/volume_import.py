"""trimaran volume import"""

from __future__ import annotations

import sys

from trimaran.cli.options import Argument, Command, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.engine import storage
    from trimaran.volume.archive import restore

    volume = storage.manager(context.engine().core).create(args.volume)
    if args.source in (None, "-"):
        restore(volume.path, sys.stdin.buffer)
        return None
    try:
        with open(args.source, "rb") as source:
            restore(volume.path, source)
    except OSError as error:
        raise UsageError(f"cannot read {args.source}", why=error.strerror or "") from error
    return None


COMMAND = Command(
    run,
    arguments=[
        Argument("VOLUME", help="Created if there is none of that name"),
        Argument("SOURCE", optional=True, help="The archive; without, standard input"),
    ],
    description="The archive may be compressed with gzip, bzip2 or xz. Files of the same name are replaced.",
    examples=[("volume import db db.tar", "Restore")],
)
