"""Choosing the subnets of a new network. Pure: what is taken comes in as data."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Literal

from trimaran.errors import Conflict, InvalidInput
from trimaran.network.model import NetworkSpec, Subnet

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Each network gets 4,093 addresses for containers out of a corner of 10.0.0.0/8 that few sites use.
_POOL = ipaddress.IPv4Network("10.208.0.0/12")
_POOL_PREFIX = 20


def plan_subnets(spec: NetworkSpec, taken: Sequence[IPNetwork], ula: str) -> tuple[Subnet, ...]:
    """The subnets of a new network: those asked for, and else free ones.

    ``taken`` are the destinations of the host's routes and other networks' subnets, ``ula`` is this
    root's own /48 (RFC 4193). Raises InvalidInput, or Conflict for a subnet that overlaps a taken one.
    """
    wanted = [network_of(text) for text in spec.subnets]
    _check_wanted(spec, wanted, taken)
    families = [network.version for network in wanted]
    if 4 not in families and (spec.driver == "bridge" or not families):
        wanted.insert(0, _free(taken))
    if spec.ipv6 and 6 not in families:
        wanted.append(_free_ula(taken, ipaddress.IPv6Network(ula)))
    gateways = {_home(wanted, a, text): a for text in spec.gateways for a in [_address(text)]}
    ranges = {_home(wanted, r[0], text): r for text in spec.ranges for r in [network_of(text)]}
    return tuple(_subnet(spec, network, gateways.get(network), ranges.get(network)) for network in wanted)


def _check_wanted(spec: NetworkSpec, wanted: list[IPNetwork], taken: Sequence[IPNetwork]) -> None:
    for network in wanted:
        if network.num_addresses < 4:
            raise InvalidInput(f"the subnet {network} is too small", hint="give at least a /30 or a /126")
        other = next((n for n in taken if _overlap(n, network)), None)
        # A macvlan's containers live in the subnet of the host's own link.
        if other is not None and spec.driver == "bridge":
            raise Conflict(
                f"the subnet {network} of network {spec.name} is taken",
                why=f"{other} is in use on this host",
                hint="choose another with --subnet, or none to have a free one chosen",
            )
    if len({network.version for network in wanted}) != len(wanted):
        raise InvalidInput(
            f"network {spec.name} has two subnets of one family", hint="give one of each at most"
        )


def _subnet(
    spec: NetworkSpec, network: IPNetwork, gateway: IPAddress | None, limits: IPNetwork | None
) -> Subnet:
    family: Literal[4, 6] = 4 if network.version == 4 else 6
    # The first address is the network's own, the last of an IPv4 subnet is for broadcast.
    low, high = network[1], network[-2] if family == 4 else network[-1]
    if gateway is None and spec.driver == "bridge":
        gateway = low
    first, last = int(low), int(high)
    if limits is not None:
        first, last = max(first, int(limits[0])), min(last, int(limits[-1]))
    make = type(low)
    return Subnet(
        family=family,
        address=str(network.network_address),
        prefix=network.prefixlen,
        gateway=str(gateway) if gateway is not None else None,
        first=str(make(first)),
        last=str(make(last)),
    )


def _home(subnets: Sequence[IPNetwork], address: IPAddress, text: str) -> IPNetwork:
    for network in subnets:
        if address in network:
            return network
    raise InvalidInput(f"{text} lies in no subnet of the network", hint="give its subnet with --subnet")


def _free(taken: Sequence[IPNetwork]) -> ipaddress.IPv4Network:
    for candidate in _POOL.subnets(new_prefix=_POOL_PREFIX):
        if not any(_overlap(n, candidate) for n in taken):
            return candidate
    raise Conflict("no subnet is free", why=f"all of {_POOL} is in use", hint="give one with --subnet")


def _free_ula(taken: Sequence[IPNetwork], ula: ipaddress.IPv6Network) -> ipaddress.IPv6Network:
    for candidate in ula.subnets(new_prefix=64):
        if not any(_overlap(n, candidate) for n in taken):
            return candidate
    raise Conflict("no IPv6 subnet is free", why=f"all of {ula} is in use", hint="give one with --subnet")


def _overlap(a: IPNetwork, b: IPNetwork) -> bool:
    if isinstance(a, ipaddress.IPv4Network):
        return isinstance(b, ipaddress.IPv4Network) and a.overlaps(b)
    return isinstance(b, ipaddress.IPv6Network) and a.overlaps(b)


def network_of(text: str) -> IPNetwork:
    """A subnet from its text. Raises InvalidInput."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise InvalidInput(
            f"{text!r} is no subnet", why=str(error), hint="write it like 10.1.0.0/16"
        ) from None


def _address(text: str) -> IPAddress:
    try:
        return ipaddress.ip_address(text)
    except ValueError as error:
        raise InvalidInput(f"{text!r} is no address", why=str(error)) from None
