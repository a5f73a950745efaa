"""trimaran stop"""

from __future__ import annotations

from trimaran.cli.many import each
from trimaran.cli.options import Argument, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments
    from trimaran.engine.container import Container


def stop(container: Container, args: Arguments) -> None:
    from trimaran.engine.ending import signal_number

    container.stop(args.time, signal_number(args.signal) if args.signal else None)


def run(context: Context, args: Arguments) -> int | None:
    return each(context, args.container, lambda container: stop(container, args))


COMMAND = Command(
    run,
    arguments=[Argument("CONTAINER", many=True)],
    options=[
        Option("-t", "--time", metavar="SECONDS", convert=float, help="How long it has before it is killed"),
        Option("-s", "--signal", metavar="SIGNAL", help="The signal that asks it to end"),
    ],
)
