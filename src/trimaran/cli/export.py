"""trimaran export"""

from __future__ import annotations

import os
import sys

from trimaran.cli.options import Argument, Command, Option, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.cli.image_show import writing
    from trimaran.image.layer_writer import write_tree

    if not args.output and sys.stdout.isatty():
        raise UsageError("an archive is nothing for a terminal", hint="give a file with -o, or a pipe")
    core = context.engine().core
    root = core.snapshots.open_root(core.containers.find(args.container).id, read_only=True)
    try:
        if args.output:
            with writing(args.output) as file:
                write_tree(root, file)
        else:
            write_tree(root, sys.stdout.buffer)
    finally:
        os.close(root)
    return None


COMMAND = Command(
    run,
    arguments=[Argument("CONTAINER")],
    options=[Option("-o", "--output", metavar="FILE", default="", help="Where to; without, standard output")],
    examples=[("export web > web.tar", "All files of a container, without its image's history")],
)
