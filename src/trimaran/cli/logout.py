"""trimaran logout"""

from __future__ import annotations

from trimaran.cli.options import Argument, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.image.credentials import Credentials

    for place in Credentials(auth_file=args.authfile).remove(args.registry or "docker.io"):
        context.note(f"Removed from {place}")
    return None


COMMAND = Command(
    run,
    arguments=[Argument("REGISTRY", optional=True)],
    options=[Option("--authfile", metavar="FILE", default="", help="Credentials file (REGISTRY_AUTH_FILE)")],
)
