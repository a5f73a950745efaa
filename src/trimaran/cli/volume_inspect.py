"""trimaran volume inspect"""

from __future__ import annotations

from trimaran.cli.options import Argument, Command
from trimaran.cli.output import FORMAT_OPTION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.cli.output import show_documents
    from trimaran.cli.volume_show import document
    from trimaran.engine import storage

    manager = storage.manager(context.engine().core)
    show_documents(context, [document(manager.get(name)) for name in args.volume], args.format)
    return None


COMMAND = Command(
    run,
    arguments=[Argument("VOLUME", many=True)],
    options=[FORMAT_OPTION],
    examples=[("volume inspect --format '{{.Mountpoint}}' db", "Where its files are")],
)
