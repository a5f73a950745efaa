"""trimaran pause"""

from __future__ import annotations

from trimaran.cli.many import each
from trimaran.cli.options import Argument, Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    return each(context, args.container, lambda container: container.pause())


COMMAND = Command(run, arguments=[Argument("CONTAINER", many=True)])
