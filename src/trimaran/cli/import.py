"""trimaran import"""

from __future__ import annotations

import sys

from trimaran.cli.image_options import PLATFORM_OPTION
from trimaran.cli.options import Argument, Command, Option, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.cli.image_options import platform
    from trimaran.cli.image_show import changes

    images = context.engine().images
    options = {
        "platform": platform(args.platform),
        "config": changes(args.change, {}),
        "message": args.message,
    }
    if args.file == "-":
        image = images.import_(sys.stdin.buffer, args.name or "", **options)
    else:
        try:
            with open(args.file, "rb") as file:
                image = images.import_(file, args.name or "", **options)
        except OSError as error:
            raise UsageError(f"cannot read {args.file}", why=error.strerror or "") from error
    context.print(image.id)
    return None


COMMAND = Command(
    run,
    arguments=[Argument("FILE", help="A tar archive; - for standard input"), Argument("NAME", optional=True)],
    options=[
        Option(
            "-c", "--change", metavar="INSTRUCTION", many=True, help="As CMD, ENV, USER, ... in a Dockerfile"
        ),
        Option("-m", "--message", metavar="TEXT", default="", help="For the history"),
        PLATFORM_OPTION,
    ],
    examples=[("import -c 'CMD [\"bash\"]' rootfs.tar.xz base:1", "An image from a root file system")],
)
