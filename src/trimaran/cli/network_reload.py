"""trimaran network reload"""

from __future__ import annotations

from trimaran.cli.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.engine.networking import repair

    for done in repair(context.engine().core):
        context.print(done)
    return None


COMMAND = Command(
    run,
    description="Make bridges, rules and the resolver again where somebody has removed them, such as by"
    " reloading a firewall. The containers on named networks do not wait for this: the resolver notices.",
)
