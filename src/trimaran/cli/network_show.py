"""Networks in docker's words: what ``network ls`` and ``network inspect`` print."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from trimaran.network.model import Endpoint, Network


def created(seconds: float) -> str:
    """A time in RFC 3339."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat()


def document(network: Network, endpoints: Iterable[Endpoint], names: dict[str, str]) -> dict[str, Any]:
    """A network as docker's ``network inspect`` shows it; ``names`` are containers' names by id."""
    spec = network.spec
    return {
        "Name": network.name,
        "Id": network.id,
        "Created": created(network.created),
        "Scope": "local",
        "Driver": spec.driver,
        "EnableIPv4": network.subnet(4) is not None,
        "EnableIPv6": network.subnet(6) is not None,
        "IPAM": {
            "Driver": "cni" if spec.driver == "cni" else "default",
            "Config": [
                {
                    "Subnet": str(subnet),
                    "Gateway": subnet.gateway or "",
                    "IPRange": f"{subnet.first}-{subnet.last}",
                }
                for subnet in network.subnets
            ],
        },
        "Internal": spec.internal,
        "Interface": network.interface,
        "Dns": spec.dns and spec.driver == "bridge",
        "Containers": {
            endpoint.container_id: {
                "Name": names.get(endpoint.container_id, ""),
                "EndpointID": endpoint.id,
                "Interface": endpoint.interface,
                "MacAddress": endpoint.mac,
                "IPv4Address": endpoint.ipv4,
                "IPv6Address": endpoint.ipv6,
                "DNSNames": list(endpoint.names),
            }
            for endpoint in endpoints
        },
        "Options": {"mtu": spec.mtu, "mode": spec.mode, "icc": spec.icc, "masquerade": spec.masquerade},
        "Labels": dict(spec.labels),
    }


def matches(labels: dict[str, str], facts: dict[str, str], filters: list[str]) -> bool:
    """Whether something with these labels and facts passes docker's ``--filter`` values.

    A ``name`` or ``id`` matches by a part of it. Raises UsageError for a filter that is not known.
    """
    from trimaran.cli.options import UsageError

    for text in filters:
        key, _, value = text.partition("=")
        if key == "label":
            name, equals, wanted = value.partition("=")
            if name not in labels or (equals and labels[name] != wanted):
                return False
        elif key not in facts:
            raise UsageError(f"unknown filter {key!r}", hint=f"known: label, {', '.join(facts)}")
        elif (value not in facts[key]) if key in ("name", "id") else value != facts[key]:
            return False
    return True
