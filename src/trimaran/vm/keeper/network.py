"""The machine's network: it takes over the interface of a network namespace, through a TAP device.

The keeper lives in the container's network namespace, its own or one that is given. Whoever connects
containers (the engine, CNI) puts an interface there; before the container starts, what comes in by it is
redirected to the TAP and the other way round, and the guest's interface gets its addresses, MTU and routes.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator

from trimaran.linux import _sys, rtnetlink, traffic
from trimaran.linux.netlink import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    Netlink,
    Request,
    attribute,
    attributes,
    u32,
)
from trimaran.vm.agent import Agent
from trimaran.vm.machine import Nic
from trimaran.vm.protocol import Op, decimal

_CLONE_NEWNET = 0x40000000
_TUNSETIFF, _TUNSETVNETHDRSZ = 0x400454CA, 0x400454D8
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
_VNET_HEADER = 12
_TAP = "trimaran0"
_RTM_GETROUTE, _RTM_NEWROUTE, _RTM_NEWLINK = 26, 24, 16
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC = 1, 4, 5, 6, 7
_ROUTE = struct.Struct("=BBBBBBBBI")
_MAIN_TABLE, _BY_KERNEL, _UNICAST = 254, 2, 1
_IFLA_ADDRESS = 1
_LINK = struct.Struct("=BxHiII")
_LOOPBACK = 1


def enter(path: str) -> None:
    """Move this process to the network namespace at PATH, or to a new one for ""."""
    if not path:
        _sys.unshare(_CLONE_NEWNET)
        return
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _sys.setns(fd, _CLONE_NEWNET)
    finally:
        os.close(fd)


def make_nic() -> Nic:
    """A TAP device in this process's network namespace, up. Its address is only the one at boot."""
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", _TAP.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR))
    fcntl.ioctl(tap, _TUNSETVNETHDRSZ, struct.pack("i", _VNET_HEADER))
    with Netlink() as netlink:
        link = rtnetlink.find_link(netlink, _TAP)
        assert link is not None
        netlink.send(rtnetlink.set_link(link.index, up=True))
    address = bytearray(os.urandom(6))
    address[0] = address[0] & 0xFE | 0x02
    return Nic(tap, address.hex(":"))


async def loopback(agent: Agent) -> None:
    """Set up the guest's loopback interface."""
    await _send(agent, rtnetlink.set_link(_LOOPBACK, up=True))


def interface() -> rtnetlink.Link | None:
    """The interface that was put into this namespace: the first that is up; None if there is none."""
    with Netlink() as netlink:
        for link in rtnetlink.links(netlink):
            if link.index != _LOOPBACK and link.name != _TAP and link.up and link.mac.strip(b"\0"):
                return link
    return None


async def take_over(agent: Agent, link: rtnetlink.Link) -> None:
    """Make the guest's interface what LINK is to the network. The guest's driver is loaded already."""
    index = decimal(await agent.call(Op.READ, "/sys/class/net/eth0/ifindex"))
    with Netlink() as netlink:
        tap = rtnetlink.find_link(netlink, _TAP)
        assert tap is not None
        netlink.send(
            rtnetlink.set_link(tap.index, up=True, mtu=link.mtu),
            traffic.ingress(link.index),
            traffic.ingress(tap.index),
            traffic.redirect(link.index, tap.index),
            traffic.redirect(tap.index, link.index),
        )
        addresses = [found for found in rtnetlink.addresses(netlink) if found[0] == link.index]
        routes = list(_routes(netlink, link.index, index))
    await _send(agent, _set_mac(index, link.mac))
    name = link.name if link.name != "eth0" else ""
    await _send(agent, rtnetlink.set_link(index, up=True, name=name, mtu=link.mtu))
    for _, address, prefix in addresses:
        if not address.startswith(b"\xfe\x80"):  # each kernel makes its own link-local address
            await _send(agent, rtnetlink.add_address(index, address, prefix))
    for route in routes:
        await _send(agent, route)


def _set_mac(index: int, mac: bytes) -> Request:
    payload = _LINK.pack(0, 0, index, 0, 0) + attribute(_IFLA_ADDRESS, mac)
    return Request(_RTM_NEWLINK, 0, payload, "set the guest's MAC address")


def _routes(netlink: Netlink, index: int, guest_index: int) -> Iterator[Request]:
    """The routes by link INDEX that no address brings with it, for the guest's link."""
    request = Request(_RTM_GETROUTE, NLM_F_DUMP, _ROUTE.pack(0, *[0] * 8), "list routes")
    for _, data in netlink.ask(request):
        family, prefix, source, tos, table, origin, scope, kind, _ = _ROUTE.unpack_from(data)
        found = attributes(data[_ROUTE.size :])
        if (table, kind) != (_MAIN_TABLE, _UNICAST) or origin == _BY_KERNEL:
            continue
        if int.from_bytes(found.get(_RTA_OIF, b""), "little") != index:
            continue
        payload = _ROUTE.pack(family, prefix, source, tos, _MAIN_TABLE, origin, scope, _UNICAST, 0)
        for part in (_RTA_DST, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC):
            if part in found:
                payload += attribute(part, found[part])
        payload += u32(_RTA_OIF, guest_index)
        yield Request(_RTM_NEWROUTE, NLM_F_CREATE, payload, "add a route in the guest")


async def _send(agent: Agent, request: Request) -> None:
    await agent.call(Op.NETLINK, request.pack(1, NLM_F_ACK))
