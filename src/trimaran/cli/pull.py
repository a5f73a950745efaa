"""trimaran pull"""

from __future__ import annotations

from trimaran.cli.image_options import (
    ALL_PLATFORMS_OPTION,
    PLATFORM_OPTION,
    PROGRESS_OPTION,
    QUIET_OPTION,
    REGISTRY_OPTIONS,
)
from trimaran.cli.options import Argument, Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.cli.image_options import platform, transport
    from trimaran.cli.image_progress import showing

    for name in args.image:
        connections = transport(args)
        with showing(context, "none" if args.quiet else args.progress) as progress:
            image = context.engine().images.pull(
                name,
                platform=platform(args.platform),
                all_platforms=args.all_platforms,
                progress=progress,
                transport=connections,
            )
        if not args.quiet:
            context.note(f"Digest: {image.target}")
        context.print(image.reference)
    return None


COMMAND = Command(
    run,
    arguments=[Argument("IMAGE", many=True)],
    options=[PLATFORM_OPTION, ALL_PLATFORMS_OPTION, PROGRESS_OPTION, QUIET_OPTION, *REGISTRY_OPTIONS],
    description="Prints the full name of what is now here. An interrupted pull goes on where it was.",
    examples=[
        ("pull debian:12", "From Docker Hub"),
        ("pull --platform linux/arm64 registry.example:5000/app", "For another machine"),
    ],
)
