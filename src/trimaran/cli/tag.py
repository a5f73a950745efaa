"""trimaran tag"""

from __future__ import annotations

from trimaran.cli.options import Argument, Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    for target in args.target:
        context.engine().images.store.tag(args.image, target)
    return None


COMMAND = Command(
    run,
    arguments=[Argument("IMAGE"), Argument("TARGET", many=True)],
    examples=[("tag debian:12 registry.example:5000/base:1", "Ready to be pushed")],
)
