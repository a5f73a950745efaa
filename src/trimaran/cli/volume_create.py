"""trimaran volume create"""

from __future__ import annotations

from trimaran.cli.options import Argument, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.cli.network_create import pairs
    from trimaran.engine import storage

    manager = storage.manager(context.engine().core)
    made = manager.create(args.volume or "", labels=pairs(args.label), options=pairs(args.opt))
    context.print(made.name)
    return None


COMMAND = Command(
    run,
    arguments=[Argument("VOLUME", optional=True, help="Its name; without, it gets a random one")],
    options=[
        Option("-d", "--driver", metavar="DRIVER", default="local", choices=("local",), help="local"),
        Option("--label", metavar="KEY=VALUE", many=True, help="A label"),
        Option("-o", "--opt", metavar="KEY=VALUE", many=True, help="type, device and o, as for mount(8)"),
    ],
    examples=[
        ("volume create db", "A directory that outlives containers"),
        (
            "volume create -o type=nfs -o device=:/export -o o=addr=192.0.2.9 share",
            "A file system of its own",
        ),
    ],
)
