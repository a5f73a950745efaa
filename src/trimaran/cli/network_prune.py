"""trimaran network prune"""

from __future__ import annotations

from trimaran.cli.confirm import FILTER_OPTION
from trimaran.cli.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.cli.confirm import confirmed
    from trimaran.cli.network_show import matches

    if not confirmed(context, "Remove all networks that no container is on?", force=args.force):
        return 1
    for name in context.engine().core.networks.prune(
        lambda network: matches(dict(network.spec.labels), {"driver": network.spec.driver}, args.filter)
    ):
        context.print(name)
    return None


COMMAND = Command(run, options=[FILTER_OPTION, Option("-f", "--force", help="Do not ask")])
