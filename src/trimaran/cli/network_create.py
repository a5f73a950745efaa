"""trimaran network create"""

from __future__ import annotations

from trimaran.cli.options import Argument, Command, Option, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments

DRIVERS = ("bridge", "macvlan", "ipvlan", "cni")
# Driver options, in our words and in docker's: the field of the specification, and how its text is read.
_KEYS = {
    "mtu": "mtu",
    "com.docker.network.driver.mtu": "mtu",
    "bridge": "interface",
    "com.docker.network.bridge.name": "interface",
    "parent": "interface",
    "mode": "mode",
    "macvlan_mode": "mode",
    "ipvlan_mode": "mode",
    "icc": "icc",
    "com.docker.network.bridge.enable_icc": "icc",
    "masquerade": "masquerade",
    "com.docker.network.bridge.enable_ip_masquerade": "masquerade",
}


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.network.model import NetworkSpec

    spec = NetworkSpec(
        args.network,
        driver=args.driver,
        subnets=tuple(args.subnet),
        gateways=tuple(args.gateway),
        ranges=tuple(args.ip_range),
        ipv6=args.ipv6,
        internal=args.internal,
        dns=not args.disable_dns,
        cni=_read(args.cni_config) if args.cni_config else "",
        labels=pairs(args.label),
        **_driver_options(args.opt),
    )
    context.print(context.engine().core.networks.create(spec).id)
    return None


def pairs(values: list[str]) -> dict[str, str]:
    """``KEY=VALUE`` texts as a mapping."""
    return {key: value for key, _, value in (text.partition("=") for text in values)}


def _driver_options(values: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs(values).items():
        field = _KEYS.get(key)
        if field is None:
            raise UsageError(
                f"unknown driver option {key!r}", hint="known: mtu, bridge, parent, mode, icc, masquerade"
            )
        if field == "mtu":
            if not (value.isascii() and value.isdigit()):
                raise UsageError(f"-o {key}={value}", why="not a number")
            found[field] = int(value)
        elif field in ("icc", "masquerade"):
            if value.lower() not in ("true", "false", "1", "0"):
                raise UsageError(f"-o {key}={value}", why="neither true nor false")
            found[field] = value.lower() in ("true", "1")
        else:
            found[field] = value
    return found


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeError) as error:
        raise UsageError(f"cannot read {path}", why=str(error)) from error


COMMAND = Command(
    run,
    arguments=[Argument("NETWORK", help="Its name")],
    options=[
        Option(
            "-d",
            "--driver",
            metavar="DRIVER",
            default="bridge",
            choices=DRIVERS,
            help=f"{', '.join(DRIVERS)}",
        ),
        Option("--subnet", metavar="SUBNET", many=True, help="Subnet such as 10.1.0.0/16; one a family"),
        Option(
            "--gateway", metavar="ADDRESS", many=True, help="The gateway in the subnet (its first address)"
        ),
        Option("--ip-range", metavar="SUBNET", many=True, help="The part of the subnet that is given out"),
        Option("--ipv6", help="IPv6 too; without --subnet in a private one (RFC 4193)"),
        Option("--internal", help="No way out, and none in"),
        Option("--disable-dns", help="Do not serve the containers' names"),
        Option("--cni-config", metavar="FILE", help="With driver cni: the configuration list (JSON)"),
        Option("--label", metavar="KEY=VALUE", many=True, help="A label"),
        Option(
            "-o", "--opt", metavar="KEY=VALUE", many=True, help="mtu, bridge, parent, mode, icc, masquerade"
        ),
    ],
    examples=[
        ("network create web", "A network whose containers know each other by name"),
        ("network create --internal --ipv6 db", "One without a way out, with IPv6"),
        (
            "network create -d macvlan -o parent=eth0 --subnet 192.0.2.0/24 wire",
            "Containers on the host's wire",
        ),
    ],
)
