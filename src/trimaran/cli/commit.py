"""trimaran commit"""

from __future__ import annotations

from trimaran.cli.options import Argument, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.cli.image_show import changes
    from trimaran.engine.committing import commit

    core = context.engine().core
    record = core.containers.find(args.container)
    parent = core.images.get(record.image_digest)
    image = commit(
        core,
        record.id,
        args.name or "",
        config=changes(args.change, parent.run_config),
        message=args.message,
        author=args.author,
        pause=args.pause,
    )
    context.print(image.id)
    return None


COMMAND = Command(
    run,
    arguments=[Argument("CONTAINER"), Argument("NAME", optional=True)],
    options=[
        Option(
            "-c", "--change", metavar="INSTRUCTION", many=True, help="As CMD, ENV, USER, ... in a Dockerfile"
        ),
        Option("-m", "--message", metavar="TEXT", default="", help="For the history"),
        Option("-a", "--author", metavar="NAME", default="", help="Who made it"),
        Option("-p", "--pause", default=True, help="--pause=false lets the container run meanwhile"),
    ],
    examples=[("commit -c 'CMD [\"nginx\"]' web shop:2", "An image of a container's changes")],
)
