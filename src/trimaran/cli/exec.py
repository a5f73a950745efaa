"""trimaran exec"""

from __future__ import annotations

from trimaran.cli import run_options
from trimaran.cli.options import Argument, Command, Option
from trimaran.cli.session import DETACH_KEYS, Session, parse_keys, require_terminal, terminal_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    import _socket

    from trimaran.engine import executing
    from trimaran.engine.starting import Streams
    from trimaran.monitor.control import Control

    if args.tty and args.interactive and not args.detach:
        require_terminal()
    options = executing.ExecOptions(
        tty=args.tty,
        interactive=args.interactive and not args.detach,
        user=args.user or "",
        workdir=args.workdir or "",
        env=run_options.environment(args.env, args.env_file),
        privileged=args.privileged,
    )
    core = context.engine().core
    if args.detach:
        executing.execute(core, args.container, args.command, options)
        return None
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    with Control(sock=ours) as control:
        control.attach_before(stdin=args.interactive)
        streams = Streams(client=theirs.fileno(), size=terminal_size())
        execution = executing.execute(core, args.container, args.command, options, streams)
        theirs.close()
        keys = parse_keys(args.detach_keys)
        session = Session(control, stdin=args.interactive, tty=args.tty, keys=keys, forward=execution.kill)
        code = session.run()
    if session.detached:
        return 0
    if code is None:
        code = execution.wait()
    execution.close()
    return code


COMMAND = Command(
    run,
    arguments=[Argument("CONTAINER"), Argument("COMMAND", rest=True)],
    options=[
        Option("-d", "--detach", help="Do not wait for it"),
        Option("--detach-keys", metavar="KEYS", default=DETACH_KEYS, help="What to type to leave it running"),
        *run_options.PROCESS,
    ],
    examples=[("exec -it web sh", "A shell in a running container")],
)
