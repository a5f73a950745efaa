"""What networks are made of, as data. Addresses are text as people write them; MACs have colons."""

from __future__ import annotations

from trimaran.network.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    Protocol = Literal["tcp", "udp", "sctp"]

DEFAULT_NETWORK = "bridge"
_NONE: Mapping[str, str] = {}


@value(frozen=True)
class Subnet:
    """A network's addresses of one family. ``first`` to ``last`` (inclusive) are given out.

    ``gateway`` is None where the network has none of its own.
    """

    family: Literal[4, 6]
    address: str
    prefix: int
    gateway: str | None
    first: str
    last: str

    def __str__(self) -> str:
        return f"{self.address}/{self.prefix}"


@value(frozen=True)
class NetworkSpec:
    """A network to create.

    ``subnets``, ``gateways`` and ``ranges`` are text such as ``10.1.0.0/16``; what is not given is chosen
    so that it overlaps no route of the host. ``internal`` networks have no way out. ``interface`` is the
    bridge's name, or the parent of a macvlan or ipvlan. ``cni`` is a CNI configuration list, as JSON text;
    without it, a CNI-backed network is looked up by its name in the configuration directories.
    """

    name: str
    driver: Literal["bridge", "macvlan", "ipvlan", "cni"] = "bridge"
    subnets: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    ranges: tuple[str, ...] = ()
    ipv6: bool = False
    internal: bool = False
    dns: bool = True
    interface: str = ""
    mode: str = ""
    mtu: int = 0
    icc: bool = True
    masquerade: bool = True
    cni: str = ""
    labels: Mapping[str, str] = _NONE


@value(frozen=True)
class Network:
    """A network that exists. ``created`` is in seconds since 1970."""

    id: str
    created: float
    spec: NetworkSpec
    interface: str
    subnets: tuple[Subnet, ...]

    @property
    def name(self) -> str:
        return self.spec.name

    def subnet(self, family: int) -> Subnet | None:
        """The subnet of that address family (4 or 6)."""
        return next((subnet for subnet in self.subnets if subnet.family == family), None)


@value(frozen=True)
class EndpointRequest:
    """A container's wish to be on a network. What is empty is chosen.

    On a CNI-backed network an address may need its prefix (``10.1.0.5/16``).
    """

    network: str = DEFAULT_NETWORK
    aliases: tuple[str, ...] = ()
    ipv4: str = ""
    ipv6: str = ""
    mac: str = ""
    interface: str = ""


@value(frozen=True)
class NetworkMode:
    """Which network namespace a container has.

    ``kind``: ``none`` (its own, with a loopback only), ``host`` (the host's), ``container`` (that of the
    container ``target``), ``ns`` (the one at the path ``target``), ``networks`` (its own, on
    ``endpoints``), ``pasta`` or ``slirp4netns`` (its own, joined to the host's by that program, without
    root; ``target`` holds its options).
    """

    kind: Literal["none", "host", "container", "ns", "networks", "pasta", "slirp4netns"]
    target: str = ""
    endpoints: tuple[EndpointRequest, ...] = ()


@value(frozen=True)
class PortRequest:
    """Ports to publish: ``count`` ports from ``container_port`` on, at the host's from ``host_port`` on.

    ``host_port`` 0 takes any free ones. ``host_ip`` empty means every address of the host.
    """

    container_port: int
    host_port: int = 0
    protocol: Protocol = "tcp"
    host_ip: str = ""
    count: int = 1


@value(frozen=True)
class DnsOptions:
    """A container's own resolver settings; what is empty is the host's."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@value(frozen=True)
class NetworkRequest:
    """All that a container wants of the network. The first endpoint's network gives the default route.

    ``name`` is the container's name, known on named networks beside its aliases and its short id.
    ``ingress`` and ``egress`` are limits in bits a second and ``cni_args`` is CNI_ARGS, for CNI-backed
    networks. ``program`` (``pasta`` or ``slirp4netns``) joins the container to the host's sockets without
    root, in place of endpoints; ``program_options`` are its further arguments, with commas.
    """

    endpoints: tuple[EndpointRequest, ...] = ()
    ports: tuple[PortRequest, ...] = ()
    name: str = ""
    hostname: str = ""
    dns: DnsOptions = DnsOptions()
    ingress: int = 0
    egress: int = 0
    cni_args: tuple[tuple[str, str], ...] = ()
    program: Literal["", "pasta", "slirp4netns"] = ""
    program_options: str = ""


@value(frozen=True)
class Endpoint:
    """A container's place on a network: ``interface`` inside it, ``host_interface`` on the host."""

    id: str
    container_id: str
    network_id: str
    network: str
    interface: str
    host_interface: str
    mac: str
    ipv4: str
    ipv6: str
    names: tuple[str, ...] = ()
    driver: str = "bridge"


@value(frozen=True)
class PublishedPort:
    """A port of the host that leads to a container's. ``host_ip`` empty: every address of ``family``."""

    container_id: str
    endpoint_id: str
    protocol: Protocol
    family: Literal[4, 6]
    host_ip: str
    host_port: int
    container_port: int

    def __str__(self) -> str:
        host = self.host_ip or ("0.0.0.0" if self.family == 4 else "::")
        host = f"[{host}]" if ":" in host else host
        return f"{host}:{self.host_port}->{self.container_port}/{self.protocol}"


@value(frozen=True)
class NetworkResult:
    """What a container got. ``resolver`` lists the name servers for its resolv.conf; none: the host's."""

    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[PublishedPort, ...] = ()
    resolver: tuple[str, ...] = ()
    gateway: str = ""
