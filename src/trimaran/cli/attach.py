"""trimaran attach"""

from __future__ import annotations

from trimaran.cli.options import Argument, Command, Option
from trimaran.cli.session import DETACH_KEYS, Session, parse_keys
from trimaran.errors import Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    container = context.engine().get(args.container)
    record = container.record
    if record.state != "running":
        raise Conflict(f"cannot attach to container {record.name}", why=f"it is {record.state}")
    stdin = bool(record.options.get("interactive")) and not args.no_stdin
    tty = bool(record.options.get("tty"))
    with container.control() as control:
        control.attach(stdin=stdin)
        forward = container.kill if args.sig_proxy else None
        session = Session(control, stdin=stdin, tty=tty, keys=parse_keys(args.detach_keys), forward=forward)
        code = session.run()
    if session.detached:
        return 0
    return container.wait() if code is None else code


COMMAND = Command(
    run,
    arguments=[Argument("CONTAINER")],
    options=[
        Option("--no-stdin", help="Do not give it our input"),
        Option("--sig-proxy", default=True, help="Pass signals on to it"),
        Option("--detach-keys", metavar="KEYS", default=DETACH_KEYS, help="What to type to leave it running"),
    ],
    description="Output that comes faster than this terminal takes it is dropped, and the amount said:\n"
    "the container is never held up. Its log has it all.",
)
