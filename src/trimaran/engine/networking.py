"""A container's wishes of the network, from its options to what trimaran.network takes."""

from __future__ import annotations

import os
from contextlib import contextmanager

from trimaran.errors import Conflict
from trimaran.network.model import DnsOptions, EndpointRequest, NetworkRequest, NetworkResult, PortRequest
from trimaran.network.parse import parse_mac, parse_mode, parse_ports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from trimaran.engine.core import Core
    from trimaran.engine.options import Options


def request(options: Options, name: str, hostname: str, image: Mapping[str, Any]) -> NetworkRequest:
    """What is asked of the network. Raises InvalidInput."""
    mode = parse_mode(options.networks)
    endpoints = list(mode.endpoints)
    if endpoints and (options.ip or options.ip6 or options.mac_address or options.network_alias):
        endpoints[0] = _first(endpoints[0], options)
    ports = [parse_ports(text) for text in options.ports]
    if options.publish_all:
        ports += [_exposed(text) for text in image.get("ExposedPorts") or {}]
    return NetworkRequest(
        endpoints=tuple(endpoints),
        ports=tuple(ports),
        name=name,
        hostname=hostname,
        dns=DnsOptions(tuple(options.dns), tuple(options.dns_search), tuple(options.dns_option)),
        program=mode.kind if mode.kind in ("pasta", "slirp4netns") else "",
        program_options=mode.target if mode.kind in ("pasta", "slirp4netns") else "",
    )


def _first(endpoint: EndpointRequest, options: Options) -> EndpointRequest:
    from trimaran.network.value import replace

    mac = parse_mac(options.mac_address) if options.mac_address else endpoint.mac
    aliases = (*endpoint.aliases, *options.network_alias)
    ipv4, ipv6 = options.ip or endpoint.ipv4, options.ip6 or endpoint.ipv6
    return replace(endpoint, ipv4=ipv4, ipv6=ipv6, mac=mac, aliases=aliases)


def _exposed(text: str) -> PortRequest:
    """``80/tcp``, as an image's ExposedPorts has it."""
    return parse_ports(text)


def attach(
    core: Core, id: str, netns: int, options: Options, hostname: str, image: Mapping[str, Any]
) -> NetworkResult:
    """Set up the network in the namespace behind the descriptor."""
    name = core.containers.find(id).name
    return core.networks.attach(id, netns, request(options, name, hostname, image))


@contextmanager
def network_namespace(core: Core, name: str) -> Iterator[tuple[str, int]]:
    """A running container's id, and its network namespace as a descriptor. Raises NotFound, Conflict."""
    from trimaran.engine import ending

    record = ending.refresh(core, core.containers.find(name))
    if record.state not in ("running", "paused") or not record.pid:
        raise Conflict(
            f"container {record.name} has no network to change",
            why=f"it is {record.state}",
            hint="start it first",
        )
    namespace = os.open(f"/proc/{record.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield record.id, namespace
    finally:
        os.close(namespace)


def repair(core: Core) -> list[str]:
    """Take the network of containers that no longer run, and make again what is missing for the others."""
    from trimaran.engine import ending

    live = {
        record.id
        for record in core.containers.list("state IN ('running', 'paused', 'starting')")
        if record.state == "starting" or ending.refresh(core, record).state in ("running", "paused")
    }
    return core.networks.recover(live.__contains__)
