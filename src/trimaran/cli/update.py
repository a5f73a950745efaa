"""trimaran update"""

from __future__ import annotations

from trimaran.cli.many import each
from trimaran.cli.options import Argument, Command, UsageError
from trimaran.cli.run_options import LIMITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments

CHANGEABLE = (
    *("memory", "memory_swap", "memory_reservation", "cpus", "cpu_shares", "cpu_period", "cpu_quota"),
    *("cpuset_cpus", "cpuset_mems", "pids_limit", "blkio_weight"),
)
OPTIONS = [option for option in LIMITS if option.name in CHANGEABLE]


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.engine import changing

    changes = {name: value for name in CHANGEABLE if (value := getattr(args, name)) is not None}
    if not changes:
        raise UsageError("nothing is to be changed", hint="see --help")
    core = context.engine().core
    return each(context, args.container, lambda container: changing.update(core, container.id, changes))


COMMAND = Command(run, arguments=[Argument("CONTAINER", many=True)], options=OPTIONS)
