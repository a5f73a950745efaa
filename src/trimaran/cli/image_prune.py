"""trimaran image prune"""

from __future__ import annotations

from trimaran.cli.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.cli.confirm import confirmed
    from trimaran.cli.image_show import report

    what = "all images that no container uses" if args.all else "all images without a name"
    if not confirmed(context, f"Remove {what}, and what interrupted pulls have left?", force=args.force):
        return 1
    report(context, context.engine().images.prune(all=args.all))
    return None


COMMAND = Command(
    run,
    options=[
        Option("-a", "--all", help="Every image that no container uses"),
        Option("-f", "--force", help="Do not ask"),
    ],
)
