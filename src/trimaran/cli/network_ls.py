"""trimaran network ls"""

from __future__ import annotations

from trimaran.cli.options import Command
from trimaran.cli.output import LIST_OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments

COLUMNS = {"NETWORK ID": "ID", "NAME": "Name", "DRIVER": "Driver", "SUBNETS": "Subnets"}
WIDE = {
    **COLUMNS,
    "INTERFACE": "Interface",
    "CONTAINERS": "Containers",
    "INTERNAL": "Internal",
    "LABELS": "Labels",
}


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.cli.network_show import created, matches
    from trimaran.cli.output import show_list

    manager = context.engine().core.networks
    rows = [
        {
            "ID": network.id if args.no_trunc else network.id[:12],
            "Name": network.name,
            "Driver": network.spec.driver,
            "Scope": "local",
            "Subnets": [str(subnet) for subnet in network.subnets],
            "IPv6": network.subnet(6) is not None,
            "Internal": network.spec.internal,
            "Interface": network.interface,
            "Containers": len(manager.endpoints(network)),
            "CreatedAt": created(network.created),
            "Labels": dict(network.spec.labels),
        }
        for network in manager.networks()
        if matches(
            dict(network.spec.labels),
            {"name": network.name, "id": network.id, "driver": network.spec.driver},
            args.filter,
        )
    ]
    wide = args.output == "wide"
    form = "json" if args.output == "json" else args.format
    show_list(context, rows, WIDE if wide else COLUMNS, format=form, quiet="ID" if args.quiet else "")
    return None


COMMAND = Command(
    run,
    options=[*LIST_OPTIONS],
    examples=[
        ("network ls -o wide", "With interfaces and the number of containers"),
        ("network ls --filter label=tier=web -q", "The IDs of those with a label"),
    ],
)
