"""The contents of /etc/hosts, /etc/resolv.conf and /etc/hostname in a container. Pure.

hosts(5), resolv.conf(5), hostname(5).
"""

from __future__ import annotations

from trimaran.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trimaran.network.model import DnsOptions, NetworkResult

_LOCAL = (
    ("127.0.0.1", "localhost"),
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::", "ip6-localnet"),
    ("ff00::", "ip6-mcastprefix"),
    ("ff02::1", "ip6-allnodes"),
    ("ff02::2", "ip6-allrouters"),
)


def hosts_file(result: NetworkResult, hostname: str, extra: Iterable[tuple[str, str]] = ()) -> str:
    """The text of /etc/hosts: loopback, what ``--add-host`` gave, then the container's own addresses.

    An extra host's address ``host-gateway`` becomes the gateway of the container's first network, and
    is an InvalidInput where there is none.
    """
    lines = [f"{address}\t{names}" for address, names in _LOCAL]
    for name, address in extra:
        if address == "host-gateway":
            if not result.gateway:
                raise InvalidInput(
                    f"host-gateway for {name} has no address",
                    why="the container's network has no gateway",
                    hint="give an address, or use a bridge network",
                )
            address = result.gateway
        lines.append(f"{address}\t{name}")
    short = hostname.partition(".")[0]
    names = f"{hostname} {short}" if short != hostname else hostname
    own = [address for e in result.endpoints for address in (e.ipv4, e.ipv6) if address]
    lines += [f"{address}\t{names}" for address in own if hostname]
    if hostname and not own:
        lines.append(f"127.0.1.1\t{names}")
    return "\n".join(lines) + "\n"


def hostname_file(hostname: str) -> str:
    """The text of /etc/hostname."""
    return f"{hostname}\n"


def resolv_conf(host: str, wanted: DnsOptions, resolver: Sequence[str], *, shares_host: bool = False) -> str:
    """The text of /etc/resolv.conf from the host's own, what the container wants and our resolver.

    Where our resolver serves the container, it is the only server (and asks the wanted ones). Otherwise
    the host's servers are taken, less those on the host's loopback, which a container cannot reach
    unless it ``shares_host`` network.
    """
    parsed = parse_resolv_conf(host)
    servers = tuple(resolver) or wanted.servers
    if not servers:
        servers = parsed.servers if shares_host else tuple(s for s in parsed.servers if not _is_loopback(s))
    search = parsed.search if not wanted.search else () if wanted.search == (".",) else wanted.search
    options = wanted.options or parsed.options
    lines = [f"nameserver {server}" for server in servers]
    lines += [f"search {' '.join(search)}"] if search else []
    lines += [f"options {' '.join(options)}"] if options else []
    return "\n".join(lines) + "\n"


def parse_resolv_conf(text: str) -> DnsOptions:
    """The servers, search domains and options of a resolv.conf; unknown lines are passed over."""
    from trimaran.network.model import DnsOptions

    servers: list[str] = []
    search: tuple[str, ...] = ()
    options: list[str] = []
    for line in text.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            search = tuple(words[1:])
        elif words[0] == "options":
            options += words[1:]
    return DnsOptions(tuple(servers), search, tuple(options))


def _is_loopback(server: str) -> bool:
    return server.startswith("127.") or server == "::1"
