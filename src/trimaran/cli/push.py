"""trimaran push"""

from __future__ import annotations

from trimaran.cli.image_options import ALL_PLATFORMS_OPTION, PROGRESS_OPTION, QUIET_OPTION, REGISTRY_OPTIONS
from trimaran.cli.options import Argument, Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.cli.image_options import transport
    from trimaran.cli.image_progress import showing

    with showing(context, "none" if args.quiet else args.progress) as progress:
        digest = context.engine().images.push(
            args.image,
            (args.destination or args.image).removeprefix("docker://"),
            all_platforms=args.all_platforms,
            progress=progress,
            transport=transport(args),
        )
    context.print(digest)
    return None


COMMAND = Command(
    run,
    arguments=[Argument("IMAGE"), Argument("DESTINATION", optional=True)],
    options=[ALL_PLATFORMS_OPTION, PROGRESS_OPTION, QUIET_OPTION, *REGISTRY_OPTIONS],
    description="Prints the digest under which the registry has it.",
    examples=[("push app registry.example:5000/team/app:1", "Under another name")],
)
