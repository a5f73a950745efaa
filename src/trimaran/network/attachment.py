"""Containers on networks: what is reserved in the database, and the order in which the host is changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cached_property

from trimaran.errors import Conflict, InvalidInput, NotFound, TrimaranError
from trimaran.linux import rtnetlink
from trimaran.linux.netlink import Netlink
from trimaran.network import lan, parse, publishing, store
from trimaran.network.bridge import Bridges, loopback_up
from trimaran.network.dns.helper import Helper
from trimaran.network.model import (
    Endpoint,
    EndpointRequest,
    Network,
    NetworkRequest,
    NetworkResult,
    PublishedPort,
)
from trimaran.network.value import replace
from trimaran.state import Database, Intent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.network.cni.driver import CniEndpoints


class Attachments:
    """Which container is on which network. ``networks`` finds a network by name."""

    def __init__(
        self,
        database: Database,
        directory: str,
        bridges: Bridges,
        networks: Callable[[str], Network],
        step: Callable[[str], None],
    ) -> None:
        self._database = database
        self._bridges = bridges
        self._networks = networks
        self._step = step
        self._directory = directory
        self._resolver = Helper(directory, database.path, bridges)

    def attach(self, container_id: str, netns: int, request: NetworkRequest) -> NetworkResult:
        """See :meth:`trimaran.network.manager.NetworkManager.attach`."""
        if request.program:
            return self._attach_program(container_id, netns, request)
        networks = [self._networks(endpoint.network) for endpoint in request.endpoints]
        with ExitStack() as held:
            with self._database.write():
                endpoints = self._reserve(container_id, request, networks)
                published = self._reserve_ports(endpoints, networks, request, held)
                self._save_cni(endpoints, networks, request, published)
                intent = self._database.announce("network.attach", container_id)
            self._all_or_nothing(
                intent,
                lambda: self._set_up(netns, networks, endpoints, published),
                lambda: self.detach(container_id, netns),
            )
        return (
            self.result(container_id)
            if self._on_cni(endpoints)
            else self._describe(networks, endpoints, published)
        )

    @staticmethod
    def _on_cni(endpoints: Sequence[Endpoint]) -> bool:
        return any(endpoint.driver == "cni" for endpoint in endpoints)

    def _save_cni(
        self,
        endpoints: Sequence[Endpoint],
        networks: Sequence[Network],
        request: NetworkRequest,
        published: Sequence[PublishedPort],
    ) -> None:
        if self._on_cni(endpoints):
            from trimaran.network.cni import driver

            connection = self._database.connection()
            for network, endpoint, wish in zip(networks, endpoints, request.endpoints, strict=True):
                if endpoint.driver == "cni":
                    own = [port for port in published if port.endpoint_id == endpoint.id]
                    driver.save(connection, network, endpoint, wish, request, own)

    @cached_property
    def _cni(self) -> CniEndpoints:
        from trimaran.network.cni.driver import CniEndpoints

        return CniEndpoints(self._database)

    def _attach_program(self, container_id: str, netns: int, request: NetworkRequest) -> NetworkResult:
        from trimaran.network import rootless

        with self._database.write():
            self._reserve(container_id, request, [])
            intent = self._database.announce("network.attach", container_id)
        self._step(f"start {request.program}")
        self._all_or_nothing(
            intent,
            lambda: rootless.start(
                request.program, request.program_options, self._directory, container_id, netns, request.ports
            ),
            lambda: self.detach(container_id, netns),
        )
        return self.result(container_id)

    def _all_or_nothing(self, intent: Intent, do: Callable[[], None], undo: Callable[[], None]) -> None:
        try:
            do()
        except BaseException as error:
            try:
                undo()
            except TrimaranError as second:
                error.add_note(f"undoing it failed too, and is tried again later: {second}")
                raise error from None
            self._database.withdraw(intent)
            raise
        self._database.withdraw(intent)

    def _reserve(
        self, container_id: str, request: NetworkRequest, networks: Sequence[Network]
    ) -> list[Endpoint]:
        connection = self._database.connection()
        row = (container_id, request.name, json.dumps([request.dns.servers, request.dns.search]))
        if connection.execute("SELECT 1 FROM network_container WHERE id = ?", (container_id,)).fetchone():
            raise Conflict(f"container {container_id[:12]} has its network already")
        connection.execute(
            "INSERT INTO network_container (id, name, resolver, program) VALUES (?, ?, ?, ?)",
            (*row, request.program),
        )
        return [
            self._place(container_id, request.name, network, position, endpoint)
            for position, (network, endpoint) in enumerate(zip(networks, request.endpoints, strict=True))
        ]

    def _place(
        self, container_id: str, name: str, network: Network, position: int, request: EndpointRequest
    ) -> Endpoint:
        parse.check_endpoint(request)
        named = network.spec.dns and network.spec.driver == "bridge"
        names = tuple(filter(None, (name, *request.aliases, container_id[:12]))) if named else ()
        return store.save_endpoint(
            self._database.connection(), container_id, network, position, request, names
        )

    def _reserve_ports(
        self,
        endpoints: Sequence[Endpoint],
        networks: Sequence[Network],
        request: NetworkRequest,
        held: ExitStack,
    ) -> list[PublishedPort]:
        if not request.ports:
            return []
        usable = [
            endpoint for network, endpoint in zip(networks, endpoints, strict=True) if _publishes(network)
        ]
        if not usable:
            raise InvalidInput(
                "ports cannot be published", why="the container is on no bridge network with a way out"
            )
        return publishing.reserve(self._database.connection(), request.ports, usable[0], held)

    def _set_up(
        self,
        netns: int,
        networks: Sequence[Network],
        endpoints: Sequence[Endpoint],
        published: Sequence[PublishedPort],
    ) -> None:
        if not endpoints:
            loopback_up(netns)
        missing = [4, 6]
        for network, endpoint in zip(networks, endpoints, strict=True):
            families = [f for f in missing if _gives_route(network, f)]
            missing = [f for f in missing if f not in families]
            self._connect(network, endpoint, netns, families)
        self._serve_names(networks)
        for endpoint in endpoints:
            if endpoint.driver == "bridge":
                self._bridges.publish([p for p in published if p.endpoint_id == endpoint.id], endpoint)

    def _connect(self, network: Network, endpoint: Endpoint, netns: int, families: Sequence[int]) -> None:
        if endpoint.driver == "bridge":
            self._bridges.connect(network, endpoint, netns, families)
            return
        self._step(f"make {endpoint.driver} {endpoint.interface}")
        if endpoint.driver == "cni":
            loopback_up(netns)
            self._cni.connect(endpoint, netns)
        else:
            lan.connect(network, endpoint, netns, families)

    def detach(self, container_id: str, netns: int | None = None) -> None:
        """See :meth:`trimaran.network.manager.NetworkManager.detach`."""
        connection = self._database.connection()
        found = connection.execute("SELECT program FROM network_container WHERE id = ?", (container_id,))
        row = found.fetchone()
        if row is None:
            return
        with self._database.intent("network.detach", container_id):
            if row["program"]:
                self._stop_program(row["program"], container_id)
            endpoints = store.load_endpoints(connection, "e.container_id = ?", container_id)
            for endpoint in endpoints:
                self._disconnect(endpoint, netns)
            self._take_ports_back(endpoints, lambda: self._forget_container(container_id))
        if any(endpoint.names for endpoint in endpoints):
            self._resolver.changed()

    def _stop_program(self, program: str, container_id: str) -> None:
        from trimaran.network import rootless

        self._step(f"stop {program}")
        rootless.stop(self._directory, container_id)

    def _serve_names(self, networks: Sequence[Network]) -> None:
        gateways = _resolvers(networks)
        if gateways:
            self._step("serve names")
            self._resolver.serve(gateways)

    def _forget_container(self, container_id: str) -> None:
        with self._database.write() as connection:
            connection.execute("DELETE FROM network_endpoint WHERE container_id = ?", (container_id,))
            connection.execute("DELETE FROM network_container WHERE id = ?", (container_id,))

    def _take_ports_back(self, endpoints: Sequence[Endpoint], done: Callable[[], None]) -> None:
        connection = self._database.connection()
        published = [
            (port, endpoint)
            for endpoint in endpoints
            if endpoint.driver == "bridge"
            for port in store.load_ports(connection, "endpoint_id = ?", endpoint.id)
        ]
        self._bridges.unpublish(published, done)

    def _disconnect(self, endpoint: Endpoint, netns: int | None) -> None:
        if endpoint.driver == "bridge":
            self._bridges.disconnect(endpoint)
            return
        self._step(f"remove {endpoint.driver} {endpoint.interface}")
        if endpoint.driver == "cni":
            self._cni.disconnect(endpoint, netns)
        else:
            lan.disconnect(endpoint, netns)

    def connect(self, container_id: str, netns: int, request: EndpointRequest) -> Endpoint:
        """See :meth:`trimaran.network.manager.NetworkManager.connect`."""
        network = self._networks(request.network)
        with self._database.write() as connection:
            row = connection.execute(
                "SELECT c.name, (SELECT max(position) FROM network_endpoint WHERE container_id = c.id)"
                " FROM network_container c WHERE c.id = ?",
                (container_id,),
            ).fetchone()
            if row is None:
                raise Conflict(
                    f"container {container_id[:12]} cannot join network {network.name}",
                    why="it has no network namespace of its own, or does not run",
                )
            position = 0 if row[1] is None else row[1] + 1
            endpoint = self._place(container_id, row[0], network, position, request)
            self._save_cni([endpoint], [network], NetworkRequest((request,)), [])
            intent = self._database.announce("network.connect", endpoint.id)
        families = _missing_routes(netns, [network])
        self._all_or_nothing(
            intent,
            lambda: self._join(network, endpoint, netns, families),
            lambda: self.drop_endpoint(endpoint.id, netns),
        )
        return endpoint

    def _join(self, network: Network, endpoint: Endpoint, netns: int, families: Sequence[int]) -> None:
        self._connect(network, endpoint, netns, families)
        self._serve_names([network])

    def disconnect(self, container_id: str, netns: int, network: Network) -> None:
        """See :meth:`trimaran.network.manager.NetworkManager.disconnect`."""
        connection = self._database.connection()
        found = store.load_endpoints(
            connection, "e.container_id = ? AND e.network_id = ?", container_id, network.id
        )
        if not found:
            raise NotFound(f"container {container_id[:12]} is not on network {network.name}")
        with self._database.intent("network.disconnect", found[0].id):
            self.drop_endpoint(found[0].id, netns)
        if found[0].names:
            self._resolver.changed()
        self._restore_routes(container_id, netns)

    def drop_endpoint(self, endpoint_id: str, netns: int | None = None) -> None:
        """Remove one endpoint and its ports. Idempotent."""

        def forget() -> None:
            self._database.connection().execute("DELETE FROM network_endpoint WHERE id = ?", (endpoint_id,))

        for endpoint in store.load_endpoints(self._database.connection(), "e.id = ?", endpoint_id):
            self._disconnect(endpoint, netns)
            self._take_ports_back([endpoint], forget)

    def _restore_routes(self, container_id: str, netns: int) -> None:
        """Give default routes by another network, if the one that gave them is left."""
        connection = self._database.connection()
        for endpoint in store.load_endpoints(connection, "e.container_id = ?", container_id):
            network = store.find_network(connection, endpoint.network_id)
            families = _missing_routes(netns, [network])
            if families:
                with Netlink(netns=netns) as inside:
                    link = rtnetlink.find_link(inside, endpoint.interface)
                    gateways = [s.gateway for s in network.subnets if s.family in families and s.gateway]
                    if link:
                        inside.send(
                            *(rtnetlink.add_route(None, store.pack(g), oif=link.index) for g in gateways)
                        )

    def result(self, container_id: str) -> NetworkResult:
        """See :meth:`trimaran.network.manager.NetworkManager.result`."""
        connection = self._database.connection()
        endpoints = store.load_endpoints(connection, "e.container_id = ?", container_id)
        networks = [store.find_network(connection, endpoint.network_id) for endpoint in endpoints]
        published = store.load_ports(connection, "container_id = ?", container_id)
        described = self._describe(networks, endpoints, published)
        row = connection.execute(
            "SELECT program FROM network_container WHERE id = ?", (container_id,)
        ).fetchone()
        if row and row["program"]:
            from trimaran.network import rootless

            return replace(described, resolver=(rootless.resolver(row["program"]),))
        return described

    def _describe(
        self, networks: Sequence[Network], endpoints: Sequence[Endpoint], published: Sequence[PublishedPort]
    ) -> NetworkResult:
        resolver = _resolvers(networks)
        gateways = [s.gateway for network in networks for s in network.subnets if s.gateway]
        for endpoint in endpoints:
            if endpoint.driver == "cni":
                given = self._cni.result(endpoint.id)
                resolver += given.dns.nameservers
                gateways += [address.gateway for address in given.ips if address.gateway]
        return NetworkResult(
            tuple(endpoints), tuple(published), tuple(resolver), gateways[0] if gateways else ""
        )

    def check(self, container_id: str, netns: int) -> None:
        """See :meth:`trimaran.network.manager.NetworkManager.check`."""
        for endpoint in store.load_endpoints(self._database.connection(), "e.container_id = ?", container_id):
            if endpoint.driver == "cni":
                self._cni.check(endpoint, netns)

    def collect(self, network: Network) -> None:
        """See :meth:`trimaran.network.manager.NetworkManager.collect`."""
        if network.spec.driver == "cni":
            self._cni.collect(network)

    def reconcile(self, live: Callable[[str], bool]) -> list[str]:
        """Detach dead containers; make bridges and rules again for the living. What was done, in words."""
        connection = self._database.connection()
        containers = [row[0] for row in connection.execute("SELECT id FROM network_container").fetchall()]
        done = []
        for container_id in containers:
            if not live(container_id):
                self.detach(container_id)
                done.append(f"detached container {container_id}")
        used = "id IN (SELECT network_id FROM network_endpoint) AND driver = 'bridge'"
        for network in store.load_networks(connection, used):
            self._bridges.ready(network)
            self._serve_names([network])
        return done


def _resolvers(networks: Sequence[Network]) -> list[str]:
    served = [network for network in networks if network.spec.dns and network.spec.driver == "bridge"]
    return [subnet.gateway for network in served for subnet in network.subnets if subnet.gateway]


def _publishes(network: Network) -> bool:
    if network.spec.driver == "cni":
        from trimaran.network.cni import driver

        return driver.chain_of(driver.config_of(network)).takes("portMappings")
    return network.spec.driver == "bridge" and not network.spec.internal


def _gives_route(network: Network, family: int) -> bool:
    subnet = network.subnet(family)
    return subnet is not None and subnet.gateway is not None and not network.spec.internal


def _missing_routes(netns: int, networks: Sequence[Network]) -> list[int]:
    """The address families that the namespace has no default route for and the networks give one."""
    with Netlink(netns=netns) as inside:
        present = {len(address) for address, prefix, _ in rtnetlink.routes(inside) if not prefix}
    return [
        f
        for f, size in ((4, 4), (6, 16))
        if size not in present and any(_gives_route(n, f) for n in networks)
    ]
