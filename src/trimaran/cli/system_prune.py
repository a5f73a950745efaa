"""trimaran system prune"""

from __future__ import annotations

from trimaran.cli.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.cli.confirm import confirmed
    from trimaran.cli.image_show import report
    from trimaran.engine import ending, storage

    images = "images that no container uses" if args.all else "images without a name"
    volumes = ", anonymous volumes that no container uses" if args.volumes else ""
    question = f"Remove stopped containers, unused networks, {images}{volumes}?"
    if not confirmed(context, question, force=args.force):
        return 1
    engine = context.engine()
    core = engine.core
    for record in core.containers.list():
        if record.state in ("created", "exited"):
            ending.remove(core, record.id)
            context.print(f"container {record.name}")
    for name in core.networks.prune(lambda network: True):
        context.print(f"network {name}")
    if args.volumes:
        for volume in storage.manager(core).prune(all=False, chosen=lambda volume: True):
            context.print(f"volume {volume.name}")
    report(context, engine.images.prune(all=args.all))
    return None


COMMAND = Command(
    run,
    options=[
        Option("-a", "--all", help="Every image that no container uses"),
        Option("--volumes", help="Anonymous volumes too"),
        Option("-f", "--force", help="Do not ask"),
    ],
)
