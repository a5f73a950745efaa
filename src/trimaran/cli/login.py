"""trimaran login"""

from __future__ import annotations

import sys

from trimaran.cli.image_options import REGISTRY_OPTIONS
from trimaran.cli.options import Argument, Command, Option, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.image.client import Transport
    from trimaran.image.credentials import Credential, Credentials
    from trimaran.image.login import login

    user, password = args.username, args.password
    if args.password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    if (not user or not password) and not sys.stdin.isatty():
        raise UsageError("login needs a user and a password", hint="use -u and --password-stdin")
    if not user:
        sys.stderr.write("Username: ")
        sys.stderr.flush()
        user = sys.stdin.readline().strip()
    if not password:
        from getpass import getpass

        password = getpass()
    credentials = Credentials(auth_file=args.authfile)
    given = Credential(user, password)
    probe = Transport(insecure=not args.tls_verify, credentials=Credentials(given=given))
    host = args.registry or "docker.io"
    context.note(f"Logged in to {host}; stored in {login(host, given, probe, credentials)}")
    return None


COMMAND = Command(
    run,
    arguments=[Argument("REGISTRY", optional=True)],
    options=[
        Option("-u", "--username", metavar="USER", default="", help="User name"),
        Option("-p", "--password", metavar="PASSWORD", default="", help="Password: others can see it in ps"),
        Option("--password-stdin", help="Read the password from standard input"),
        *(option for option in REGISTRY_OPTIONS if option.name != "creds"),
    ],
    examples=[("login -u me --password-stdin registry.example:5000 < token", "Without a terminal")],
)
