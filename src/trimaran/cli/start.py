"""trimaran start"""

from __future__ import annotations

from trimaran.cli.many import each
from trimaran.cli.options import Argument, Command, Option, UsageError
from trimaran.cli.session import DETACH_KEYS, Session, parse_keys, terminal_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments
    from trimaran.engine.container import Container


def run(context: Context, args: Arguments) -> int | None:
    if not (args.attach or args.interactive):
        return each(context, args.container, lambda container: container.start())
    if len(args.container) != 1:
        raise UsageError("only one container can be attached to")
    return _attached(context.engine().get(args.container[0]), args)


def _attached(container: Container, args: Arguments) -> int:
    import _socket

    from trimaran.engine.starting import Streams
    from trimaran.monitor.control import Control

    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    with Control(sock=ours) as control:
        control.attach_before(stdin=args.interactive)
        container.start(Streams(client=theirs.fileno(), size=terminal_size()))
        theirs.close()
        tty = bool(container.record.options.get("tty"))
        keys = parse_keys(args.detach_keys)
        session = Session(control, stdin=args.interactive, tty=tty, keys=keys, forward=container.kill)
        code = session.run()
    if session.detached:
        return 0
    return container.wait() if code is None else code


COMMAND = Command(
    run,
    arguments=[Argument("CONTAINER", many=True)],
    options=[
        Option("-a", "--attach", help="Show its output, and leave with its exit code"),
        Option("-i", "--interactive", help="Give it our input"),
        Option("--detach-keys", metavar="KEYS", default=DETACH_KEYS, help="What to type to leave it running"),
    ],
)
