"""trimaran network inspect"""

from __future__ import annotations

from trimaran.cli.options import Argument, Command
from trimaran.cli.output import FORMAT_OPTION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.cli.network_show import document
    from trimaran.cli.output import show_documents

    core = context.engine().core
    found = [core.networks.get(name) for name in args.network]
    names = {record.id: record.name for record in core.containers.list("")}
    documents = [document(network, core.networks.endpoints(network), names) for network in found]
    show_documents(context, documents, args.format)
    return None


COMMAND = Command(
    run,
    arguments=[Argument("NETWORK", many=True)],
    options=[FORMAT_OPTION],
    examples=[("network inspect --format '{{.Internal}}' db", "One fact of one network")],
)
