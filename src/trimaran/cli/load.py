"""trimaran load"""

from __future__ import annotations

import sys

from trimaran.cli.options import Command, Option, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    if not args.input and sys.stdin.isatty():
        raise UsageError("there is nothing to load", hint="give a file with -i, or a pipe")
    images = context.engine().images
    for image in images.load(args.input, None if args.input else sys.stdin.buffer):
        if args.quiet:
            context.print(image.reference or image.id)
        else:
            context.print(f"Loaded image: {image.reference or image.id}")
    return None


COMMAND = Command(
    run,
    options=[
        Option("-i", "--input", metavar="FILE", default="", help="An archive or an OCI layout's directory"),
        Option("-q", "--quiet", help="Only the names"),
    ],
    description="Reads what docker, Podman, buildah, skopeo and containerd save, compressed or not.",
    examples=[("load < image.tar.gz", "From standard input")],
)
