"""trimaran image unmount"""

from __future__ import annotations

from trimaran.cli.options import Argument, Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    for directory in args.directory:
        context.engine().core.snapshots.unmount(directory)
    return None


COMMAND = Command(run, arguments=[Argument("DIRECTORY", many=True)])
