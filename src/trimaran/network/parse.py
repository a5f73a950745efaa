"""The command line's network syntax, docker's and podman's, to data. Pure."""

from __future__ import annotations

import _socket

from trimaran.errors import InvalidInput
from trimaran.network.model import DEFAULT_NETWORK, EndpointRequest, NetworkMode, PortRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_ALONE = ("none", "host", "container", "ns", "pasta", "slirp4netns")

_PORT_HELP = (
    "write [ADDRESS:][HOST[-END]:]CONTAINER[-END][/tcp|udp|sctp], such as 8080:80 or 127.0.0.1::53/udp"
)


def parse_ports(text: str) -> PortRequest:
    """A ``--publish`` value. Raises InvalidInput."""
    rest, _, protocol = text.partition("/")
    if protocol not in ("", "tcp", "udp", "sctp"):
        raise _bad_port(text, f"{protocol!r} is no protocol")
    host_ip, rest = _split_address(text, rest)
    host, _, container = rest.rpartition(":")
    if ":" in host:
        raise _bad_port(text, "too many colons")
    container_port, count = _range(text, container)
    host_port, host_count = _range(text, host) if host else (0, count)
    if host_count != count:
        if count != 1:
            raise _bad_port(text, f"{host_count} host ports for {count} container ports")
        raise _bad_port(text, "a range of host ports needs a range of container ports of the same length")
    kind = "udp" if protocol == "udp" else "sctp" if protocol == "sctp" else "tcp"
    return PortRequest(container_port, host_port, kind, host_ip, count)  # type: ignore[arg-type]


def _split_address(text: str, rest: str) -> tuple[str, str]:
    if rest.startswith("["):
        address, closed, rest = rest[1:].partition("]")
        if not closed or not rest.startswith(":"):
            raise _bad_port(text, "an IPv6 address goes in brackets, with a colon behind")
        rest = rest[1:]
    elif rest.count(":") >= 2:
        address, _, rest = rest.partition(":")
    else:
        return "", rest
    if address and not is_address(address):
        raise _bad_port(text, f"{address!r} is no address")
    return address, rest


def _range(text: str, value: str) -> tuple[int, int]:
    first, dash, last = value.partition("-")
    try:
        start, end = int(first), int(last) if dash else int(first)
    except ValueError:
        raise _bad_port(text, f"{value!r} is no port") from None
    digits = first.isascii() and first.isdigit()
    if not digits or not 1 <= start <= end <= 65535:
        raise _bad_port(text, f"{value!r} is not within 1 to 65535")
    return start, end - start + 1


def _bad_port(text: str, why: str) -> InvalidInput:
    return InvalidInput(f"cannot publish {text!r}", why=why, hint=_PORT_HELP)


def is_address(text: str, family: int = 0) -> bool:
    """Whether the text is an IP address, of family 4 or 6 if given."""
    for number, kind in ((4, _socket.AF_INET), (6, _socket.AF_INET6)):
        if family in (0, number):
            try:
                _socket.inet_pton(kind, text)
            except (OSError, ValueError):
                continue
            return True
    return False


def parse_mac(text: str) -> str:
    """A unicast MAC address in lower case with colons. Raises InvalidInput."""
    parts = text.lower().replace("-", ":").split(":")
    if len(parts) != 6 or not all(len(p) == 2 and set(p) <= set("0123456789abcdef") for p in parts):
        raise InvalidInput(f"{text!r} is no MAC address", hint="write it like 02:00:0a:d0:00:05")
    if int(parts[0], 16) & 1 or set(parts) == {"00"}:
        raise InvalidInput(f"{text!r} is no address of one interface", why="it is a group's, or zero")
    return ":".join(parts)


def parse_mode(values: Sequence[str]) -> NetworkMode:
    """All ``--network`` values of a container; none of them means the default network.

    ``none``, ``host``, ``container:ID``, ``ns:PATH``, ``pasta[:OPTIONS]`` and ``slirp4netns[:OPTIONS]``
    stand alone. Raises InvalidInput.
    """
    if not values:
        return NetworkMode("networks", endpoints=(EndpointRequest(),))
    kind, colon, target = values[0].partition(":")
    if kind not in _ALONE:
        if any(value.partition(":")[0] in _ALONE for value in values):
            raise InvalidInput(
                f"{' and '.join(values)} cannot go together", hint="name networks, or one mode"
            )
        endpoints = tuple(map(parse_network, values))
        if len({endpoint.network for endpoint in endpoints}) != len(endpoints):
            raise InvalidInput("a container can be on a network only once", why=", ".join(values))
        return NetworkMode("networks", endpoints=endpoints)
    if len(values) > 1:
        raise InvalidInput(f"{' and '.join(values)} cannot go together", hint=f"{kind} stands alone")
    if kind in ("container", "ns") and not target:
        raise InvalidInput(f"--network {values[0]!r} says not which", hint="write container:ID or ns:PATH")
    if kind in ("none", "host") and colon:
        raise InvalidInput(f"--network {kind} takes no options")
    if kind == "ns" and not target.startswith("/"):
        raise InvalidInput(f"--network ns:{target} is not an absolute path")
    return NetworkMode(kind, target)  # type: ignore[arg-type]


def parse_network(text: str) -> EndpointRequest:
    """A ``--network`` value: ``NAME``, or ``[name=]NAME[:,]key=value...``; raises InvalidInput.

    Keys: ``ip``, ``ip6``, ``mac`` (or ``mac-address``), ``alias`` (may repeat), ``interface`` (or
    ``interface_name``).
    """
    if text.startswith("name=") or "," in text.partition(":")[0]:
        first, _, rest = text.partition(",")
    else:
        first, _, rest = text.partition(":")
    name = first.removeprefix("name=")
    values: dict[str, str] = {}
    aliases: list[str] = []
    for item in filter(None, rest.split(",")):
        key, equals, value = item.partition("=")
        key = {"mac-address": "mac", "interface_name": "interface"}.get(key, key)
        if not equals or key not in ("ip", "ip6", "mac", "alias", "interface"):
            raise InvalidInput(
                f"cannot use network option {item!r}", hint="known: ip, ip6, mac, alias, interface"
            )
        if key == "alias":
            aliases.append(value)
        else:
            values[key] = value
    request = EndpointRequest(
        network=DEFAULT_NETWORK if name in ("", "default") else name,
        aliases=tuple(aliases),
        ipv4=values.get("ip", ""),
        ipv6=values.get("ip6", ""),
        mac=parse_mac(values["mac"]) if "mac" in values else "",
        interface=values.get("interface", ""),
    )
    check_endpoint(request)
    return request


def check_endpoint(request: EndpointRequest) -> None:
    """Raises InvalidInput for an endpoint whose parts cannot be."""
    for value, family in ((request.ipv4, 4), (request.ipv6, 6)):
        # With a prefix for CNI plugins, which know no subnet.
        address, slash, prefix = value.partition("/")
        if value and (not is_address(address, family) or (slash and not prefix.isdigit())):
            raise InvalidInput(f"{value!r} is no IPv{family} address")
    for alias in request.aliases:
        check_dns_name(alias)
    if request.interface:
        check_interface(request.interface)


def check_interface(name: str) -> None:
    """Raises InvalidInput unless a link can have the name (dev_valid_name in the kernel, and less)."""
    good = all(c.isascii() and c.isprintable() and c not in "/:\"' " for c in name)
    if not good or not 0 < len(name) < 16 or name in (".", "..", "lo"):
        raise InvalidInput(f"{name!r} is no name for an interface", why="1 to 15 letters, digits, -, _ and .")


def check_network_name(name: str) -> None:
    """Raises InvalidInput unless a network can have the name."""
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
    if not 0 < len(name) <= 128 or not set(name) <= allowed or name[0] in "_.-":
        raise InvalidInput(f"{name!r} is no name for a network", why="1 to 128 letters, digits, _, . and -")


def check_dns_name(name: str) -> None:
    """Raises InvalidInput unless the name can be asked for in the DNS (RFC 1035, with underscores)."""
    labels = name.removesuffix(".").split(".")
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789-_")
    if len(name) > 253 or not all(0 < len(part) < 64 and set(part.lower()) <= allowed for part in labels):
        raise InvalidInput(
            f"{name!r} is no name for a host", why="labels of 1 to 63 letters, digits, - and _"
        )


def parse_extra_host(text: str, gateway: str = "") -> tuple[str, str]:
    """An ``--add-host`` value, ``NAME:ADDRESS`` or ``NAME=ADDRESS``, as (name, address).

    The address ``host-gateway`` stands for ``gateway``; with no gateway it is left for later.
    """
    equals, colon = text.find("="), text.find(":")
    at = equals if equals >= 0 and (colon < 0 or equals < colon) else colon
    if at <= 0:
        raise InvalidInput(f"cannot add host {text!r}", hint="write NAME:ADDRESS or NAME:host-gateway")
    name, address = text[:at], text[at + 1 :].removeprefix("[").removesuffix("]")
    check_dns_name(name)
    if address == "host-gateway":
        return name, gateway or address
    if not is_address(address):
        raise InvalidInput(f"cannot add host {text!r}", why=f"{address!r} is no address")
    return name, address
