"""trimaran image inspect"""

from __future__ import annotations

from trimaran.cli.options import Argument, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.cli.image_show import document
    from trimaran.cli.output import show_documents

    images = context.engine().images
    show_documents(context, [document(images, images.get(name)) for name in args.image], args.format)
    return None


COMMAND = Command(
    run,
    arguments=[Argument("IMAGE", many=True)],
    options=[
        Option("-f", "--format", metavar="FORMAT", help="json, or a template such as '{{.Config.Cmd}}'")
    ],
    examples=[("image inspect -f '{{.Os}}/{{.Architecture}}' debian:12", "The platform")],
)
