"""trimaran image mount"""

from __future__ import annotations

from trimaran.cli.options import Argument, Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    engine = context.engine()
    image = engine.images.get(args.image)
    engine.core.snapshots.mount(image.chain_ids[-1], args.directory)
    context.print(args.directory)
    return None


COMMAND = Command(
    run,
    arguments=[Argument("IMAGE"), Argument("DIRECTORY")],
    description="Read-only, until `trimaran image unmount DIRECTORY`.",
)
