"""What the commands that talk to registries have in common."""

from __future__ import annotations

from trimaran.cli.options import Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.options import Arguments
    from trimaran.image.client import Transport
    from trimaran.image.platform import Platform


PLATFORM_OPTION = Option("--platform", metavar="OS/ARCH", help="Another platform than this machine's")
ALL_PLATFORMS_OPTION = Option("--all-platforms", help="All platforms of a multi-platform image")
QUIET_OPTION = Option("-q", "--quiet", help="No progress")
PROGRESS_OPTION = Option(
    "--progress",
    metavar="HOW",
    default="auto",
    choices=("auto", "bars", "plain", "json", "none"),
    help="auto, bars, plain, json (events, one a line, on standard error) or none",
)
REGISTRY_OPTIONS = (
    Option("--authfile", metavar="FILE", default="", help="Credentials file (REGISTRY_AUTH_FILE)"),
    Option("--creds", metavar="USER:PASSWORD", default="", help="Credentials for this command only"),
    Option(
        "--tls-verify", default=True, help="--tls-verify=false allows plain HTTP and unknown certificates"
    ),
)


def transport(args: Arguments) -> Transport:
    """The connections to registries that the options ask for."""
    from trimaran.cli.options import UsageError
    from trimaran.image.client import Transport
    from trimaran.image.credentials import Credential, Credentials

    given = None
    if args.creds:
        user, colon, password = args.creds.partition(":")
        if not colon:
            raise UsageError("--creds", why="must be USER:PASSWORD")
        given = Credential(user, password)
    return Transport(
        insecure=not args.tls_verify, credentials=Credentials(auth_file=args.authfile, given=given)
    )


def platform(text: str | None) -> Platform | None:
    """The platform that --platform names."""
    from trimaran.image.platform import Platform

    return Platform.parse(text) if text else None
