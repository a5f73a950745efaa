"""trimaran volume rm"""

from __future__ import annotations

from trimaran.cli.options import Argument, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.engine import storage

    manager = storage.manager(context.engine().core)
    for name in args.volume:
        manager.remove(name, force=args.force)
        context.print(name)
    return None


COMMAND = Command(
    run,
    arguments=[Argument("VOLUME", many=True)],
    options=[Option("-f", "--force", help="One that does not exist is no error")],
    description="One that a container uses, running or not, is never removed.",
)
