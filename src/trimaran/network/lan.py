"""Macvlan and ipvlan: a container's link shares one of the host's. No rules, no ports, no bridge."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from trimaran.errors import InvalidInput, KernelError, NotFound, Unsupported
from trimaran.linux import rtnetlink as rt
from trimaran.linux.netlink import Netlink, Request
from trimaran.network.bridge import configure
from trimaran.network.model import Endpoint, Network, NetworkSpec


def check(spec: NetworkSpec) -> None:
    """Raises InvalidInput or NotFound for a network that cannot be: its parent and mode."""
    modes = rt.MACVLAN_MODES if spec.driver == "macvlan" else rt.IPVLAN_MODES
    if spec.mode and spec.mode not in modes:
        raise InvalidInput(f"{spec.mode!r} is no mode of {spec.driver}", hint=f"known: {', '.join(modes)}")
    if not spec.interface:
        raise InvalidInput(
            f"a {spec.driver} network needs a link of the host", hint="give it with -o parent=INTERFACE"
        )
    with Netlink() as netlink:
        if rt.find_link(netlink, spec.interface) is None:
            raise NotFound(f"the host has no link {spec.interface}", hint="see them with: ip link")


def connect(network: Network, endpoint: Endpoint, netns: int, families: Sequence[int]) -> None:
    """Give the namespace a link of its own on the network's parent."""
    # The link is made here under a name that is free, and gets its own when it is over there.
    temporary = f"tl{endpoint.id}"
    with Netlink() as netlink:
        parent = rt.find_link(netlink, network.interface)
        if parent is None:
            raise NotFound(f"the host has no link {network.interface}", hint="see them with: ip link")
        try:
            netlink.send(_make(network, endpoint, temporary, parent.index, netns))
        except KernelError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            raise Unsupported(
                f"this kernel has no {network.spec.driver}", why=os.strerror(error.errno)
            ) from error
    with Netlink(netns=netns) as inside:
        link = rt.find_link(inside, temporary)
        if link:
            inside.send(rt.set_link(link.index, up=False, name=endpoint.interface))
    configure(netns, network, endpoint, families)


def _make(network: Network, endpoint: Endpoint, name: str, parent: int, netns: int) -> Request:
    if network.spec.driver == "ipvlan":
        mode = rt.IPVLAN_MODES[network.spec.mode or "l2"]
        return rt.new_ipvlan(name, parent, netns, mode=mode, mtu=network.spec.mtu)
    mode = rt.MACVLAN_MODES[network.spec.mode or "bridge"]
    mac = bytes.fromhex(endpoint.mac.replace(":", ""))
    return rt.new_macvlan(name, parent, netns, mode=mode, mac=mac, mtu=network.spec.mtu)


def disconnect(endpoint: Endpoint, netns: int | None) -> None:
    """Remove the link; with the namespace gone it is gone too."""
    if netns is None:
        return
    with Netlink(netns=netns) as inside:
        try:
            inside.send(rt.delete_link(endpoint.interface))
        except KernelError as error:
            if error.errno != errno.ENODEV:
                raise
