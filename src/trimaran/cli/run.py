"""trimaran run"""

from __future__ import annotations

import os
import sys

from trimaran.cli import run_options
from trimaran.cli.options import Argument, Command, Option, UsageError
from trimaran.cli.session import DETACH_KEYS, Session, parse_keys, require_terminal, terminal_size
from trimaran.errors import Conflict, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments
    from trimaran.engine import Engine
    from trimaran.engine.container import Container


def run(context: Context, args: Arguments) -> int | None:
    options = run_options.engine_options(args)
    command: Sequence[str] | None = args.command or None
    if args.cidfile and os.path.exists(args.cidfile):
        raise UsageError(f"{args.cidfile} exists already", hint="remove it, or name another file")
    if args.detach:
        container = context.engine().start(args.image, command, **options)
        write_cidfile(args.cidfile, container.id)
        context.print(container.id)
        return None
    return _foreground(context.engine(), args, command, options)


def write_cidfile(path: str | None, id: str) -> None:
    """Write a container's id where the caller wants it."""
    if path:
        with open(path, "x", encoding="ascii") as file:
            file.write(id)


def _foreground(
    engine: Engine, args: Arguments, command: Sequence[str] | None, options: dict[str, Any]
) -> int:
    import _socket

    from trimaran.engine.starting import Streams
    from trimaran.monitor.control import Control

    if args.tty and args.interactive:
        require_terminal()
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    with Control(sock=ours) as control:
        control.attach_before(stdin=args.interactive)
        streams = Streams(client=theirs.fileno(), size=terminal_size())
        container = engine.start(args.image, command, streams=streams, **options)
        theirs.close()
        write_cidfile(args.cidfile, container.id)
        if args.restart or args.health_cmd:
            container.look_after(attached=True)
        keys = parse_keys(args.detach_keys)
        forward = container.kill if args.sig_proxy else None
        session = Session(control, stdin=args.interactive, tty=args.tty, keys=keys, forward=forward)
        code = session.run()
    if session.detached:
        container.look_after()
        sys.stderr.write("\r\n")
        return 0
    return _finish(container, code, remove=args.rm)


def _finish(container: Container, code: int | None, *, remove: bool) -> int:
    if code is None:
        code = container.wait()
    try:
        if remove:
            container.wait_and_remove()
        else:
            container.wait()
    except (NotFound, Conflict):
        # Someone else has removed it in the meantime.
        return code
    return code


COMMAND = Command(
    run,
    arguments=[Argument("IMAGE"), Argument("COMMAND", rest=True)],
    options=[
        Option("-d", "--detach", help="Leave it running, and print its id"),
        Option("--detach-keys", metavar="KEYS", default=DETACH_KEYS, help="What to type to leave it running"),
        Option("--sig-proxy", default=True, help="Pass signals on to it"),
        *run_options.ALL,
    ],
    description="The exit code is the command's; 125 if Trimaran failed, 126 if the command cannot be\n"
    "executed, 127 if it is not there, 128+n if signal n ended it.",
    examples=[
        ("run --rm debian:12 cat /etc/os-release", "One command, and nothing is left"),
        ("run --rm -it debian:12", "A shell"),
        ("run -d --name web -p 8080:80 nginx", "A server in the background"),
        ("run --rm --network none --read-only -m 256m python:3 python -c 'print(6*7)'", "With little rights"),
    ],
)
