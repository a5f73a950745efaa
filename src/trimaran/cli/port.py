"""trimaran port"""

from __future__ import annotations

from trimaran.cli.options import Argument, Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.errors import NotFound

    engine = context.engine()
    wanted = args.port and (args.port if "/" in args.port else f"{args.port}/tcp")
    ports = engine.core.networks.ports(engine.get(args.container).id)
    chosen = [p for p in ports if wanted in (None, f"{p.container_port}/{p.protocol}")]
    if wanted and not chosen:
        raise NotFound(f"port {wanted} of container {args.container} is not published")
    for port in chosen:
        host = str(port).partition("->")[0]
        context.print(host if wanted else f"{port.container_port}/{port.protocol} -> {host}")
    return None


COMMAND = Command(run, arguments=[Argument("CONTAINER"), Argument("PORT", optional=True)])
