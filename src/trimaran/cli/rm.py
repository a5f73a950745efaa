"""trimaran rm"""

from __future__ import annotations

from trimaran.cli.many import each
from trimaran.cli.options import Argument, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    return each(
        context, args.container, lambda container: container.remove(force=args.force, volumes=args.volumes)
    )


COMMAND = Command(
    run,
    arguments=[Argument("CONTAINER", many=True)],
    options=[
        Option("-f", "--force", help="Kill it first, if it runs"),
        Option("-v", "--volumes", help="Remove its anonymous volumes with it"),
    ],
)
