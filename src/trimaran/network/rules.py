"""The rules of one root directory's nftables table. Pure: text for nft(8), elements for netlink.

The table is ours alone and is replaced as a whole, in one transaction, when a network comes or goes or
when somebody has flushed it. A container that comes or goes changes only elements of its maps.

What they say: nobody reaches a container unasked but over a published port or from its own network; a
container reaches the outside (with the host's address) unless its network is internal; what is sent to
the host's loopback from elsewhere never becomes a packet to a container (CVE-2020-8558). The kernel takes
no answer for ::1 from another link than the loopback, so the host's own connections to it stay there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trimaran.linux.nftables import Element, field
from trimaran.network.model import Endpoint, Network, PublishedPort
from trimaran.network.store import pack

PROTOCOL_NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132}

_RESOLVER = "@resolver@"
_STATIC = """
 chain loopback {
  type filter hook prerouting priority raw; policy accept;
  iifname @bridges ip daddr 127.0.0.0/8 drop
 }
 chain publish {
  dnat ip to ip daddr . meta l4proto . th dport map @publish4
  dnat ip to meta l4proto . th dport map @publish4_any
  dnat ip6 to ip6 daddr . meta l4proto . th dport map @publish6
  dnat ip6 to meta l4proto . th dport map @publish6_any
 }
 chain prerouting {
  type nat hook prerouting priority dstnat; policy accept;
  iifname != "lo" ip daddr 127.0.0.0/8 return
@resolver@
  fib daddr type local jump publish
 }
 chain output {
  type nat hook output priority -100; policy accept;
  ip6 daddr ::1 return
  fib daddr type local jump publish
 }
"""


def ruleset(
    table: str,
    networks: Sequence[Network],
    ports: Iterable[tuple[PublishedPort, Endpoint]],
    resolver_port: int,
) -> str:
    """The whole table, as text that replaces what was there. Only bridge networks have rules.

    The resolver is asked on port 53 and listens on ``resolver_port``: port 53 may be published, or another
    server's.
    """
    bridges = [network for network in networks if network.spec.driver == "bridge"]
    maps: dict[str, list[str]] = {"publish4": [], "publish4_any": [], "publish6": [], "publish6_any": []}
    for port, endpoint in ports:
        name, key, data = _translation(port, endpoint)
        maps[name].append(" . ".join(key) + " : " + " . ".join(data))
    lines = [no_ruleset(table) + f"table inet {table} {{"]
    lines += _set("set bridges", "ifname", [f'"{network.interface}"' for network in bridges])
    for name, members in maps.items():
        address = "ipv4_addr" if "4" in name else "ipv6_addr"
        kind = (
            "inet_proto . inet_service" if name.endswith("any") else f"{address} . inet_proto . inet_service"
        )
        lines += _set(f"map {name}", f"{kind} : {address} . inet_service", members)
    lines.append(_STATIC.strip("\n").replace(_RESOLVER, _resolver(bridges, resolver_port)))
    lines += [" chain postrouting {", "  type nat hook postrouting priority srcnat; policy accept;"]
    lines += [line for network in bridges for line in _postrouting(network)]
    lines += [" }", " chain forward {", "  type filter hook forward priority filter; policy accept;"]
    lines += ["  ct state established,related accept"]
    lines += [line for network in bridges for line in _forward(network)]
    lines += ["  oifname @bridges ct status dnat accept", "  oifname @bridges drop", " }", "}"]
    return "\n".join(lines) + "\n"


def _resolver(bridges: Sequence[Network], port: int) -> str:
    served = ", ".join(f'"{network.interface}"' for network in bridges if network.spec.dns)
    if not served:
        return "  # no names are served"
    asked = "fib daddr type local meta l4proto { tcp, udp } th dport 53"
    return f"  iifname {{ {served} }} {asked} redirect to :{port}"


def no_ruleset(table: str) -> str:
    """What removes the whole table, there or not."""
    return f"table inet {table} {{\n}}\ndelete table inet {table}\n"


def _set(head: str, type: str, elements: Sequence[str]) -> list[str]:
    members = [f"  elements = {{ {', '.join(elements)} }}"] if elements else []
    return [f" {head} {{", f"  type {type};", *members, " }"]


def _postrouting(network: Network) -> list[str]:
    lines = []
    for subnet in network.subnets:
        family = "ip" if subnet.family == 4 else "ip6"
        loopback = "127.0.0.0/8" if subnet.family == 4 else "::1"
        # Answers to the host's loopback, and to a neighbour that came by a published port, must pass us.
        name = f'"{network.interface}"'
        near = f"{family} saddr {{ {loopback}, {subnet} }}"
        lines.append(f"  oifname {name} {near} ct status dnat masquerade")
        if not network.spec.internal and network.spec.masquerade:
            lines.append(f"  oifname != {name} {family} saddr {subnet} masquerade")
    return lines


def _forward(network: Network) -> list[str]:
    name = f'"{network.interface}"'
    lines = [f"  iifname {name} oifname {name} {'' if network.spec.icc else 'ct status dnat '}accept"]
    if network.spec.internal:
        lines += [f"  iifname {name} drop", f"  oifname {name} drop"]
    return lines


def _translation(port: PublishedPort, endpoint: Endpoint) -> tuple[str, list[str], list[str]]:
    name = f"publish{port.family}" + ("" if port.host_ip else "_any")
    key = ([port.host_ip] if port.host_ip else []) + [port.protocol, str(port.host_port)]
    return name, key, [endpoint.ipv4 if port.family == 4 else endpoint.ipv6, str(port.container_port)]


def port_element(port: PublishedPort, endpoint: Endpoint) -> Element:
    """The element that publishes a port."""
    name, _, _ = _translation(port, endpoint)
    key = field(pack(port.host_ip)) if port.host_ip else b""
    key += field(bytes((PROTOCOL_NUMBERS[port.protocol],))) + field(port.host_port.to_bytes(2, "big"))
    address = endpoint.ipv4 if port.family == 4 else endpoint.ipv6
    return Element(name, key, field(pack(address)) + field(port.container_port.to_bytes(2, "big")))
