"""Links, addresses and routes: rtnetlink(7), linux/if_link.h, linux/if_addr.h, linux/rtnetlink.h."""

from __future__ import annotations

import _socket
import errno
import struct
import sys

from trimaran.errors import KernelError
from trimaran.linux.netlink import (
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Netlink,
    Request,
    attribute,
    attributes,
    nested,
    string,
    u32,
)

AF_UNSPEC, AF_INET, AF_INET6 = 0, 2, 10
IFF_UP, _IFF_RUNNING = 0x1, 0x40
IFNAMSIZ = 16

_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_RTM_NEWADDR, _RTM_DELADDR, _RTM_GETADDR = 20, 21, 22
_RTM_NEWROUTE, _RTM_DELROUTE, _RTM_GETROUTE = 24, 25, 26

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER = 1, 3, 4, 5, 10
_IFLA_LINKINFO, _IFLA_NET_NS_FD, _IFLA_IFALIAS = 18, 28, 20
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _IFLA_INFO_SLAVE_KIND, _IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
_IFLA_BRPORT_MODE, _IFLA_BRPORT_ISOLATED = 4, 33
_VETH_INFO_PEER = 1
_IFLA_MACVLAN_MODE = 1
_IFLA_IPVLAN_MODE = 1
_IFLA_BR_FORWARD_DELAY, _IFLA_BR_STP_STATE = 1, 5
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_IFA_F_NODAD = 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_TABLE = 1, 4, 5, 6, 15
_RT_TABLE_MAIN, _RTPROT_BOOT, _RT_SCOPE_UNIVERSE, _RT_SCOPE_LINK, _RTN_UNICAST = 254, 3, 0, 253, 1

MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
IPVLAN_MODES = {"l2": 0, "l3": 1, "l3s": 2}

_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_U16 = struct.Struct("=H")


class Link:
    """An interface: its number, name, MAC, MTU, master's number (0: none) and kind.

    ``up`` says that it was set up, ``running`` that it can carry packets.
    """

    __slots__ = ("index", "kind", "mac", "master", "mtu", "name", "running", "up")

    def __init__(self, payload: bytes) -> None:
        index, flags = _LINK.unpack_from(payload)[2:4]
        self.index: int = index
        found = attributes(payload[_LINK.size :])
        self.name = found.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode()
        self.mac = found.get(_IFLA_ADDRESS, b"")
        self.mtu = int.from_bytes(found.get(_IFLA_MTU, b""), sys.byteorder)
        self.master = int.from_bytes(found.get(_IFLA_MASTER, b""), sys.byteorder)
        self.up = bool(flags & IFF_UP)
        self.running = bool(flags & _IFF_RUNNING)
        info = attributes(found.get(_IFLA_LINKINFO, b""))
        self.kind = info.get(_IFLA_INFO_KIND, b"").rstrip(b"\0").decode()


def family_of(address: bytes) -> int:
    """The address family of a packed address."""
    return AF_INET if len(address) == 4 else AF_INET6


def text_of(address: bytes) -> str:
    """A packed address as people write it."""
    return _socket.inet_ntop(family_of(address), address)


def _link_header(index: int = 0, up: bool | None = None) -> bytes:
    flags = IFF_UP if up else 0
    change = 0 if up is None else IFF_UP
    return _LINK.pack(AF_UNSPEC, 0, index, flags, change)


def _link_attributes(name: str, mac: bytes, mtu: int) -> bytes:
    parts = string(_IFLA_IFNAME, name) if name else b""
    if mac:
        parts += attribute(_IFLA_ADDRESS, mac)
    if mtu:
        parts += u32(_IFLA_MTU, mtu)
    return parts


def _kind(kind: str, *data: bytes) -> bytes:
    return nested(_IFLA_LINKINFO, string(_IFLA_INFO_KIND, kind), nested(_IFLA_INFO_DATA, *data))


def new_bridge(name: str, *, mtu: int = 0, mac: bytes = b"") -> Request:
    """Make a bridge, up, that forwards at once (no spanning tree)."""
    data = _kind("bridge", u32(_IFLA_BR_FORWARD_DELAY, 0), u32(_IFLA_BR_STP_STATE, 0))
    payload = _link_header(up=True) + _link_attributes(name, mac, mtu) + data
    return Request(_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, payload, f"make the bridge {name}")


def new_veth(
    name: str, peer: str, peer_netns: int, *, master: int = 0, mtu: int = 0, peer_mac: bytes = b""
) -> Request:
    """Make a veth pair: ``name`` here, up, in bridge ``master``; ``peer``, down, in another namespace."""
    far = _link_header() + _link_attributes(peer, peer_mac, mtu)
    far += u32(_IFLA_NET_NS_FD, peer_netns)
    payload = _link_header(up=True) + _link_attributes(name, b"", mtu)
    if master:
        payload += u32(_IFLA_MASTER, master)
    payload += _kind("veth", attribute(_VETH_INFO_PEER, far))
    return Request(_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, payload, f"make the veth pair {name}, {peer}")


def new_macvlan(name: str, parent: int, netns: int, *, mode: int, mac: bytes = b"", mtu: int = 0) -> Request:
    """Make a macvlan of link ``parent`` in the namespace ``netns``; ``mode`` is of MACVLAN_MODES."""
    payload = _link_header() + _link_attributes(name, mac, mtu) + u32(_IFLA_LINK, parent)
    payload += u32(_IFLA_NET_NS_FD, netns) + _kind("macvlan", u32(_IFLA_MACVLAN_MODE, mode))
    return Request(_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, payload, f"make the macvlan {name}")


def new_ipvlan(name: str, parent: int, netns: int, *, mode: int, mtu: int = 0) -> Request:
    """Make an ipvlan of link ``parent`` in the namespace ``netns``; ``mode`` is of IPVLAN_MODES."""
    payload = _link_header() + _link_attributes(name, b"", mtu) + u32(_IFLA_LINK, parent)
    data = attribute(_IFLA_IPVLAN_MODE, _U16.pack(mode))
    payload += u32(_IFLA_NET_NS_FD, netns) + _kind("ipvlan", data)
    return Request(_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, payload, f"make the ipvlan {name}")


def set_link(index: int, *, up: bool, name: str = "", mtu: int = 0) -> Request:
    """Set a link up or down, and its name and MTU if given."""
    payload = _link_header(index, up) + _link_attributes(name, b"", mtu)
    return Request(_RTM_NEWLINK, 0, payload, f"set link {name or index} {'up' if up else 'down'}")


def set_master(index: int, master: int) -> Request:
    """Put a link into a bridge."""
    payload = _link_header(index) + u32(_IFLA_MASTER, master)
    return Request(_RTM_NEWLINK, 0, payload, f"put link {index} into bridge {master}")


def isolate_port(name: str) -> Request:
    """Let a bridge's port reach the bridge itself, but no other isolated port of it."""
    return _set_port(name, _IFLA_BRPORT_ISOLATED)


def hairpin_port(name: str) -> Request:
    """Let a bridge's port get back what came in by it."""
    return _set_port(name, _IFLA_BRPORT_MODE)


def _set_port(name: str, flag: int) -> Request:
    data = nested(_IFLA_INFO_SLAVE_DATA, attribute(flag, b"\1"))
    info = nested(_IFLA_LINKINFO, string(_IFLA_INFO_SLAVE_KIND, "bridge"), data)
    payload = _link_header() + string(_IFLA_IFNAME, name) + info
    return Request(_RTM_NEWLINK, 0, payload, f"set up bridge port {name}")


def set_alias(index: int, alias: str) -> Request:
    """Set a link's description (at most 255 bytes), as ``ip link`` shows it."""
    payload = _link_header(index) + attribute(_IFLA_IFALIAS, alias.encode())
    return Request(_RTM_NEWLINK, 0, payload, f"describe link {index}")


def delete_link(name: str) -> Request:
    """Remove a link by name; the other end of a veth pair goes with it."""
    payload = _link_header() + string(_IFLA_IFNAME, name)
    return Request(_RTM_DELLINK, 0, payload, f"remove link {name}")


def add_address(index: int, address: bytes, prefix: int) -> Request:
    """Give a link an address, usable at once: no duplicate detection for an address we manage."""
    payload = _ADDRESS.pack(family_of(address), prefix, 0, 0, index)
    payload += attribute(_IFA_LOCAL, address) + attribute(_IFA_ADDRESS, address)
    if len(address) == 16:
        payload += u32(_IFA_FLAGS, _IFA_F_NODAD)
    what = f"add address {text_of(address)}/{prefix}"
    return Request(_RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, payload, what)


def add_route(
    destination: tuple[bytes, int] | None, gateway: bytes, *, oif: int = 0, metric: int = 0
) -> Request:
    """Add a route through ``gateway``; to everywhere if ``destination`` (address, prefix) is None."""
    prefix = destination[1] if destination else 0
    payload = _route_header(family_of(gateway), prefix, _RT_SCOPE_UNIVERSE)
    payload += attribute(_RTA_GATEWAY, gateway)
    if destination:
        payload += attribute(_RTA_DST, destination[0])
    if oif:
        payload += u32(_RTA_OIF, oif)
    if metric:
        payload += u32(_RTA_PRIORITY, metric)
    target = f"{text_of(destination[0])}/{prefix}" if destination else "default"
    what = f"add route {target} via {text_of(gateway)}"
    return Request(_RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, payload, what)


def add_device_route(family: int, index: int) -> Request:
    """Add a default route through a link with no gateway (ipvlan in mode l3)."""
    payload = _route_header(family, 0, _RT_SCOPE_LINK) + u32(_RTA_OIF, index)
    return Request(_RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, payload, f"add a default route by link {index}")


def _route_header(family: int, prefix: int, scope: int) -> bytes:
    return _ROUTE.pack(family, prefix, 0, 0, _RT_TABLE_MAIN, _RTPROT_BOOT, scope, _RTN_UNICAST, 0)


def find_link(netlink: Netlink, name: str) -> Link | None:
    """The link of that name, or None."""
    request = Request(_RTM_GETLINK, 0, _link_header() + string(_IFLA_IFNAME, name), f"look up link {name}")
    try:
        return Link(netlink.ask(request)[0][1])
    except KernelError as error:
        if error.errno == errno.ENODEV:
            return None
        raise


def links(netlink: Netlink) -> list[Link]:
    """All links of the socket's namespace."""
    return [
        Link(data) for _, data in netlink.ask(Request(_RTM_GETLINK, NLM_F_DUMP, _link_header(), "list links"))
    ]


def addresses(netlink: Netlink) -> list[tuple[int, bytes, int]]:
    """All addresses of the socket's namespace, as (link number, packed address, prefix length)."""
    request = Request(_RTM_GETADDR, NLM_F_DUMP, _ADDRESS.pack(AF_UNSPEC, 0, 0, 0, 0), "list addresses")
    found = []
    for _, data in netlink.ask(request):
        _, prefix, _, _, index = _ADDRESS.unpack_from(data)
        parts = attributes(data[_ADDRESS.size :])
        found.append((index, parts.get(_IFA_LOCAL) or parts[_IFA_ADDRESS], prefix))
    return found


def routes(netlink: Netlink) -> list[tuple[bytes, int, int]]:
    """The unicast destinations of the main table, as (packed address, prefix length, link number).

    A default route has an address of zeros and the prefix length 0.
    """
    request = Request(_RTM_GETROUTE, NLM_F_DUMP, _ROUTE.pack(AF_UNSPEC, *[0] * 8), "list routes")
    found = []
    for _, data in netlink.ask(request):
        family, prefix, _, _, table, _, _, kind, _ = _ROUTE.unpack_from(data)
        if table != _RT_TABLE_MAIN or kind != _RTN_UNICAST or family not in (AF_INET, AF_INET6):
            continue
        parts = attributes(data[_ROUTE.size :])
        destination = parts.get(_RTA_DST, bytes(4 if family == AF_INET else 16))
        found.append((destination, prefix, int.from_bytes(parts.get(_RTA_OIF, b""), sys.byteorder)))
    return found
