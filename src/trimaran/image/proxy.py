"""Which proxy a request goes through: ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``.

Read as Go's net/http does, since the same variables are set for every engine of a host: lower case too,
nothing to a loopback address; ``NO_PROXY`` holds names (and their subdomains), addresses, networks, or ``*``.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import unquote, urlsplit

from trimaran.errors import InvalidInput, Unsupported


class Proxy:
    """A proxy's ``address`` (host:port) and its ``Proxy-Authorization``, empty if it wants none."""

    __slots__ = ("address", "authorization")

    def __init__(self, address: str, authorization: str = "") -> None:
        self.address = address
        self.authorization = authorization


def proxy_for(scheme: str, host: str, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy for a URL's scheme and host[:port]; None for a direct connection.

    Raises Unsupported for SOCKS, InvalidInput for what is no URL.
    """
    url = _variable(environ, f"{scheme}_proxy") or _variable(environ, "all_proxy")
    if not url or bypassed(host, _variable(environ, "no_proxy")):
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme != "http":
        raise Unsupported(
            f"the proxy {parts.scheme}://{parts.hostname}",
            why="only http:// proxies are supported",
            hint=f"set {scheme}_proxy to one, or the host in no_proxy",
        )
    if not parts.hostname:
        raise InvalidInput(f"the proxy {url!r} of {scheme}_proxy is no URL")
    authorization = ""
    if parts.username is not None:
        plain = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(plain.encode()).decode()
    return Proxy(parts.netloc.rpartition("@")[2] if parts.port else f"{parts.hostname}:80", authorization)


def _variable(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.upper(), "")


def bypassed(host: str, no_proxy: str) -> bool:
    """Whether a host[:port] is reached directly."""
    name, port = split_host(host)
    address = _address(name)
    if is_loopback(host):
        return True
    return any(_matches(entry.strip().lower(), name, port, address) for entry in no_proxy.split(","))


def _matches(entry: str, name: str, port: str, address: IPv4Address | IPv6Address | None) -> bool:
    if entry in ("", "*"):
        return entry == "*"
    if "/" in entry and address:
        try:
            return address in ip_network(entry, strict=False)
        except ValueError:
            return False
    wanted, wanted_port = split_host(entry)
    if wanted_port and wanted_port != port:
        return False
    wanted = wanted.removeprefix("*")
    return name == wanted.lstrip(".") or name.endswith("." + wanted.lstrip("."))


def split_host(host: str) -> tuple[str, str]:
    """``host[:port]`` as lower-case host (an IPv6 address without brackets) and port, perhaps empty."""
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        return name.lower(), rest.removeprefix(":")
    if host.count(":") > 1:
        return host.lower(), ""
    name, _, port = host.partition(":")
    return name.lower(), port


def is_loopback(host: str) -> bool:
    """Whether a host[:port] is this machine by name or address."""
    name, _ = split_host(host)
    address = _address(name)
    return name == "localhost" or name.endswith(".localhost") or bool(address and address.is_loopback)


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(name)
    except ValueError:
        return None
