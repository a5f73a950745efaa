"""trimaran network disconnect"""

from __future__ import annotations

from trimaran.cli.options import Argument, Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.engine.networking import network_namespace

    core = context.engine().core
    with network_namespace(core, args.container) as (container_id, netns):
        core.networks.disconnect(container_id, netns, args.network)
    return None


COMMAND = Command(run, arguments=[Argument("NETWORK"), Argument("CONTAINER", help="A running container")])
