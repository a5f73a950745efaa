"""trimaran rmi"""

from __future__ import annotations

from trimaran.cli.options import Argument, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.errors import TrimaranError

    failed = 0
    for name in args.image:
        try:
            for line in context.engine().images.remove(name, force=args.force):
                context.print(line)
        except TrimaranError as error:
            context.note(f"trimaran: {error}")
            failed = error.exit_code if len(args.image) == 1 else 1
    return failed


COMMAND = Command(
    run,
    arguments=[Argument("IMAGE", many=True)],
    options=[Option("-f", "--force", help="All names of an ID; the name even if a container uses the image")],
    examples=[("rmi $(trimaran images -q --filter dangling=true)", "Those without a name")],
)
