"""The built-in bridge: links over netlink, rules in our nftables table. Effects only, no decisions on names.

Bridges and the table are made anew whenever one is found missing (a reboot, a flush), from the database.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Sequence

from trimaran.errors import KernelError
from trimaran.linux import conntrack, nftables
from trimaran.linux import rtnetlink as rt
from trimaran.linux.netlink import Netlink
from trimaran.network import host, rules, store
from trimaran.network.model import Endpoint, Network, PublishedPort
from trimaran.state import Database

_LOOPBACK = 1
_RESOLVER_PORT = 10053
_RUNNING_TRIES, _RUNNING_PAUSE = 100, 0.0005


class Bridges:
    """The bridges and the rules of one root directory. ``step`` is told what is about to be done."""

    def __init__(self, database: Database, lock: host.Lock, step: Callable[[str], None]) -> None:
        self._database = database
        self._lock = lock
        self._step = step
        self._table: str = ""

    @property
    def table(self) -> str:
        """The name of this root's nftables table."""
        if not self._table:
            import os

            name = f"trimaran_{os.urandom(4).hex()}"
            self._table = store.setting(self._database.connection(), "table", name)
        return self._table

    @property
    def resolver_port(self) -> int:
        """The port on which this root's resolver listens, at each gateway."""
        return int(store.setting(self._database.connection(), "resolver_port", str(_RESOLVER_PORT)))

    def move_resolver(self, port: int) -> None:
        """Have questions go to another port from now on."""
        connection = self._database.connection()
        connection.execute("UPDATE network_setting SET value = ? WHERE key = 'resolver_port'", (str(port),))
        self.rebuild()

    def ready(self, network: Network) -> int:
        """The link number of the network's bridge, which is made first if it is missing."""
        with Netlink() as netlink, nftables.open_nftables() as netfilter:
            link = rt.find_link(netlink, network.interface)
            if link and link.up and nftables.has_rules(netfilter, self.table, "forward"):
                return link.index
        self.rebuild(network)
        with Netlink() as netlink:
            link = rt.find_link(netlink, network.interface)
        if link is None:
            raise KernelError(
                "netlink", errno.ENODEV, network.interface, message="the bridge has vanished again"
            )
        return link.index

    def rebuild(self, wanted: Network | None = None) -> None:
        """Make what is missing of the wanted network and of those in use, and load all rules."""
        connection = self._database.connection()
        with self._lock.exclusive():
            networks = store.load_networks(connection, "driver = 'bridge'")
            for network in networks:
                endpoints = store.load_endpoints(connection, "e.network_id = ?", network.id)
                if endpoints or (wanted and wanted.id == network.id):
                    self._make(network, endpoints)
            self._load(networks)

    def forget(self, network: Network, done: Callable[[], None]) -> None:
        """Remove the bridge and the rules of a network that is no longer to be.

        ``done`` is called before anyone else may make the rules anew from the database.
        """
        with self._lock.exclusive():
            self._step(f"remove bridge {network.interface}")
            with Netlink() as netlink:
                _delete_link(netlink, network.interface)
            remaining = store.load_networks(
                self._database.connection(), "driver = 'bridge' AND id != ?", network.id
            )
            self._load(remaining)
            done()

    def _load(self, networks: Sequence[Network]) -> None:
        from trimaran.network import nft

        connection = self._database.connection()
        known = {network.id for network in networks}
        endpoints = {e.id: e for e in store.load_endpoints(connection, "1") if e.network_id in known}
        ports = [
            (p, endpoints[p.endpoint_id]) for p in store.load_ports(connection) if p.endpoint_id in endpoints
        ]
        self._step("load rules")
        text = rules.ruleset(self.table, networks, ports, self.resolver_port)
        nft.load(text if networks else rules.no_ruleset(self.table))

    def _make(self, network: Network, endpoints: Sequence[Endpoint]) -> None:
        with Netlink() as netlink:
            link = rt.find_link(netlink, network.interface)
            if link is None:
                self._step(f"make bridge {network.interface}")
                netlink.send(rt.new_bridge(network.interface, mtu=network.spec.mtu, mac=_mac(network)))
                link = rt.find_link(netlink, network.interface)
            if link is None:
                return
            self._step(f"set up bridge {network.interface}")
            addresses = [
                rt.add_address(link.index, store.pack(subnet.gateway), subnet.prefix)
                for subnet in network.subnets
                if subnet.gateway
            ]
            self._settings(network)
            netlink.send(rt.set_link(link.index, up=True), *addresses)
            for endpoint in endpoints:
                member = rt.find_link(netlink, endpoint.host_interface)
                if member and member.master != link.index:
                    netlink.send(rt.set_master(member.index, link.index))

    def _settings(self, network: Network) -> None:
        name = network.interface
        # A container must not be able to give the host routes (CVE-2020-13401).
        if host.read_sysctl(f"ipv6/conf/{name}/accept_ra"):
            host.sysctl(f"ipv6/conf/{name}/accept_ra", "0")
        if network.subnet(4):
            host.forward_ipv4()
            # Packets from the host's loopback leave by the bridge; the rules keep the reverse out.
            host.sysctl(f"ipv4/conf/{name}/route_localnet", "1")
        if network.subnet(6):
            host.sysctl(f"ipv6/conf/{name}/disable_ipv6", "0")
            host.forward_ipv6()

    def connect(self, network: Network, endpoint: Endpoint, netns: int, families: Sequence[int]) -> None:
        """Give the namespace a link to the bridge, with addresses and, for ``families``, default routes."""
        bridge = self.ready(network)
        self._step(f"make veth {endpoint.host_interface}")
        mac = bytes.fromhex(endpoint.mac.replace(":", ""))
        with Netlink() as netlink:
            pair = rt.new_veth(
                endpoint.host_interface,
                endpoint.interface,
                netns,
                master=bridge,
                mtu=network.spec.mtu,
                peer_mac=mac,
            )
            netlink.send(pair)
            if not network.spec.icc:
                netlink.send(rt.isolate_port(endpoint.host_interface))
        self._step(f"set up {endpoint.interface}")
        configure(netns, network, endpoint, families)
        _wait_until_running(endpoint.host_interface)

    def disconnect(self, endpoint: Endpoint) -> None:
        """Remove an endpoint's link; one that is gone already is no error."""
        if endpoint.host_interface:
            self._step(f"remove veth {endpoint.host_interface}")
            with Netlink() as netlink:
                _delete_link(netlink, endpoint.host_interface)

    def publish(self, ports: Sequence[PublishedPort], endpoint: Endpoint) -> None:
        """Lead ports of the host to the endpoint."""
        if not ports:
            return
        self._step("publish ports")
        with Netlink() as netlink:
            # Where bridged packets pass the IP rules (br_netfilter), a container's packet to its own
            # published port is turned round inside the bridge.
            netlink.send(rt.hairpin_port(endpoint.host_interface))
        with self._lock.shared(), nftables.open_nftables() as netfilter:
            elements = [rules.port_element(port, endpoint) for port in ports]
            nftables.add_elements(netfilter, self.table, elements)
            _forget_flows(netfilter, ports)

    def unpublish(self, ports: Sequence[tuple[PublishedPort, Endpoint]], done: Callable[[], None]) -> None:
        """Take ports back; those that are back already are no error. ``done`` as for :meth:`forget`."""
        with self._lock.shared():
            if ports:
                self._step("take ports back")
                with nftables.open_nftables() as netfilter:
                    elements = [rules.port_element(port, endpoint) for port, endpoint in ports]
                    nftables.delete_elements(netfilter, self.table, elements)
                    _forget_flows(netfilter, [port for port, _ in ports])
            done()


def configure(netns: int, network: Network, endpoint: Endpoint, families: Sequence[int]) -> None:
    """Set up an endpoint's link, which is in the namespace already: addresses, up, default routes."""
    with Netlink(netns=netns) as inside:
        link = rt.find_link(inside, endpoint.interface)
        if link is None:
            raise KernelError(
                "netlink", errno.ENODEV, endpoint.interface, message="the container's link is gone"
            )
        requests = [rt.set_link(_LOOPBACK, up=True)]
        for subnet in network.subnets:
            address = endpoint.ipv4 if subnet.family == 4 else endpoint.ipv6
            if address:
                requests.append(rt.add_address(link.index, store.pack(address), subnet.prefix))
        requests.append(rt.set_link(link.index, up=True))
        for subnet in network.subnets:
            if subnet.gateway and subnet.family in families:
                requests.append(rt.add_route(None, store.pack(subnet.gateway), oif=link.index))
        inside.send(*requests)


def loopback_up(netns: int) -> None:
    """Set the namespace's loopback link up."""
    with Netlink(netns=netns) as inside:
        inside.send(rt.set_link(_LOOPBACK, up=True))


def _mac(network: Network) -> bytes:
    """A bridge's own MAC: one that it took from its ports would change with them under its neighbours."""
    gateway = next(subnet.gateway for subnet in network.subnets if subnet.gateway)
    return bytes.fromhex(store.mac_of(store.pack(gateway)).replace(":", ""))


def _wait_until_running(name: str) -> None:
    """Wait until the bridge forwards for a port: it does from the kernel's link watch on, a moment later.

    A packet sent before would be lost, and with it a second until the address is asked for again.
    """
    with Netlink() as netlink:
        for _ in range(_RUNNING_TRIES):
            # Kernels from 6.8 on bring the link watch up to date for this question.
            link = rt.find_link(netlink, name)
            if link is None or link.running:
                return
            time.sleep(_RUNNING_PAUSE)


def _delete_link(netlink: Netlink, name: str) -> None:
    try:
        netlink.send(rt.delete_link(name))
    except KernelError as error:
        if error.errno != errno.ENODEV:
            raise


def _forget_flows(netfilter: Netlink, ports: Sequence[PublishedPort]) -> None:
    """Forget what was tracked of ports without connections: it would bypass the new translation."""
    wanted = {(rules.PROTOCOL_NUMBERS[p.protocol], p.host_port) for p in ports if p.protocol != "tcp"}
    if wanted:
        conntrack.forget_flows(netfilter, lambda flow: (flow.protocol, flow.port) in wanted)
