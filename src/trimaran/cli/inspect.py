"""trimaran inspect"""

from __future__ import annotations

from trimaran.cli.options import Argument, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.cli.output import show_documents
    from trimaran.engine.inspecting import inspect

    core = context.engine().core
    show_documents(context, [inspect(core, name) for name in args.container], args.format)
    return None


COMMAND = Command(
    run,
    arguments=[Argument("CONTAINER", many=True)],
    options=[Option("-f", "--format", metavar="FORMAT", help="json, or a template such as '{{.State.Pid}}'")],
    examples=[("inspect -f '{{.State.ExitCode}}' web", "One fact")],
)
