"""trimaran volume export"""

from __future__ import annotations

import sys

from trimaran.cli.options import Argument, Command, Option, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.engine import storage
    from trimaran.volume.archive import backup

    volume = storage.manager(context.engine().core).get(args.volume)
    if args.output:
        try:
            with open(args.output, "wb") as output:
                backup(volume.path, output)
        except OSError as error:
            raise UsageError(f"cannot write {args.output}", why=error.strerror or "") from error
    elif sys.stdout.isatty():
        raise UsageError("an archive is nothing for a terminal", hint="give a file with -o, or a pipe")
    else:
        backup(volume.path, sys.stdout.buffer)
    return None


COMMAND = Command(
    run,
    arguments=[Argument("VOLUME")],
    options=[Option("-o", "--output", metavar="FILE", help="Where to; without, standard output")],
    examples=[("volume export db | zstd > db.tar.zst", "Back up, compressed")],
)
