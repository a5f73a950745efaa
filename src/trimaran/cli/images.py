"""trimaran images"""

from __future__ import annotations

from trimaran.cli.options import Argument, Command, Option
from trimaran.cli.output import LIST_OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


COLUMNS = {
    "REPOSITORY": "Repository",
    "TAG": "Tag",
    "IMAGE ID": "ID",
    "CREATED": "CreatedSince",
    "SIZE": "Size",
}
WIDE = {**COLUMNS, "PLATFORM": "Platform", "LAYERS": "Layers", "DIGEST": "Digest", "USED BY": "Containers"}


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.cli.image_show import matches, row
    from trimaran.cli.output import show_list

    images = context.engine().images
    rows = [
        row(images, image, truncate=not args.no_trunc)
        for image in images.list()
        if matches(images, image, args.filter, args.name)
    ]
    columns = WIDE if args.output == "wide" else COLUMNS
    if args.digests and "DIGEST" not in columns:
        columns = {**columns, "DIGEST": "Digest"}
    form = "json" if args.output == "json" else args.format
    if args.quiet:
        rows = list({each["ID"]: each for each in rows}.values())
    show_list(context, rows, columns, format=form, quiet="ID" if args.quiet else "")
    return None


COMMAND = Command(
    run,
    arguments=[Argument("NAME", optional=True, help="A repository, or a name with tag; may hold *")],
    options=[
        Option("-a", "--all", help="For docker's sake: all are always shown"),
        Option("--digests", help="Digests too"),
        *LIST_OPTIONS,
    ],
    description="Sizes are as transferred. Filters: reference, dangling, label, before, since.",
    examples=[("images --filter dangling=true -q", "The IDs of images without a name")],
)
