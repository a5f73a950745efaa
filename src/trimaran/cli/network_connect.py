"""trimaran network connect"""

from __future__ import annotations

from trimaran.cli.options import Argument, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.engine.networking import network_namespace
    from trimaran.network.model import EndpointRequest
    from trimaran.network.parse import parse_mac

    core = context.engine().core
    request = EndpointRequest(
        args.network,
        aliases=tuple(args.alias),
        ipv4=args.ip or "",
        ipv6=args.ip6 or "",
        mac=parse_mac(args.mac_address) if args.mac_address else "",
        interface=args.interface or "",
    )
    with network_namespace(core, args.container) as (container_id, netns):
        core.networks.connect(container_id, netns, request)
    return None


COMMAND = Command(
    run,
    arguments=[Argument("NETWORK"), Argument("CONTAINER", help="A running container")],
    options=[
        Option("--alias", metavar="NAME", many=True, help="One more name for it on the network"),
        Option("--ip", metavar="ADDRESS", help="Its IPv4 address"),
        Option("--ip6", metavar="ADDRESS", help="Its IPv6 address"),
        Option("--mac-address", metavar="MAC", help="Its MAC address"),
        Option("--interface", metavar="NAME", help="The name of the interface in it"),
    ],
    examples=[("network connect --alias db backend postgres", "Known as db on the network backend")],
)
