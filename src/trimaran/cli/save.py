"""trimaran save"""

from __future__ import annotations

import sys

from trimaran.cli.options import Argument, Command, Option, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    images = context.engine().images
    for name in args.image:
        images.get(name)
    if args.format == "oci-dir":
        if not args.output:
            raise UsageError("oci-dir needs a directory", hint="give it with -o")
        images.save_directory(args.image, args.output)
    elif args.output:
        from trimaran.cli.image_show import writing

        with writing(args.output) as file:
            images.save(args.image, file, docker=args.format != "oci-archive")
    elif sys.stdout.isatty():
        raise UsageError("an archive is nothing for a terminal", hint="give a file with -o, or a pipe")
    else:
        images.save(args.image, sys.stdout.buffer, docker=args.format != "oci-archive")
    return None


COMMAND = Command(
    run,
    arguments=[Argument("IMAGE", many=True)],
    options=[
        Option("-o", "--output", metavar="FILE", default="", help="Where to; without, standard output"),
        Option(
            "--format",
            metavar="FORMAT",
            default="docker-archive",
            choices=("docker-archive", "oci-archive", "oci-dir"),
            help="docker-archive (which is an OCI layout too), oci-archive or oci-dir",
        ),
    ],
    examples=[("save debian:12 | zstd > debian.tar.zst", "Compressed: load reads it")],
)
