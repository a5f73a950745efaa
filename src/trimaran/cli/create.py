"""trimaran create"""

from __future__ import annotations

from trimaran.cli import run_options
from trimaran.cli.options import Argument, Command
from trimaran.cli.run import write_cidfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    options = run_options.engine_options(args)
    container = context.engine().create(args.image, args.command or None, **options)
    write_cidfile(args.cidfile, container.id)
    context.print(container.id)
    return None


COMMAND = Command(
    run, arguments=[Argument("IMAGE"), Argument("COMMAND", rest=True)], options=list(run_options.ALL)
)
