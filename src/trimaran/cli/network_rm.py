"""trimaran network rm"""

from __future__ import annotations

from trimaran.cli.options import Argument, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.errors import NotFound

    manager = context.engine().core.networks
    for name in args.network:
        try:
            manager.remove(name)
        except NotFound:
            if not args.force:
                raise
            continue
        context.print(name)
    return None


COMMAND = Command(
    run,
    arguments=[Argument("NETWORK", many=True)],
    options=[Option("-f", "--force", help="One that does not exist is no error")],
)
