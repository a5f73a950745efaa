"""Networks of one root directory: to create, list and remove them, and to put containers on them.

Everything here may be called by any number of processes and threads at once, and may be killed at any
instant: each change is announced in the state database before it is made, and :meth:`NetworkManager.recover`
undoes what a dead process left half done.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

from trimaran.errors import Conflict, InvalidInput, NotFound, TrimaranError
from trimaran.network import host, store
from trimaran.network.attachment import Attachments
from trimaran.network.bridge import Bridges
from trimaran.network.model import (
    DEFAULT_NETWORK,
    Endpoint,
    EndpointRequest,
    Network,
    NetworkRequest,
    NetworkResult,
    NetworkSpec,
    PublishedPort,
)
from trimaran.state import Database

_RESERVED = ("none", "host", "default", "container", "ns", "pasta", "slirp4netns")


def _no_step(_: str) -> None:
    """Tells nobody."""


class NetworkManager:
    """The networks of the root directory whose state is in ``database``.

    ``directory`` is an existing directory of mode 0700, for locks and sockets. ``step`` is told, in words,
    each change of the host before it is made.
    """

    def __init__(self, database: Database, directory: str, *, step: Callable[[str], None] = _no_step) -> None:
        self._database = database
        self._step = step
        self._bridges = Bridges(database, host.Lock(os.path.join(directory, "rules.lock")), step)
        self._attachments = Attachments(database, directory, self._bridges, self.get, step)

    def create(self, spec: NetworkSpec) -> Network:
        """Create a network. Raises Conflict (name or subnet taken), InvalidInput, NotFound, Unsupported."""
        _check_spec(spec)
        taken = self._taken_subnets()
        with self._database.write() as connection:
            network = self._plan(spec, taken)
            store.save_network(connection, network)
            intent = self._database.announce("network.create", network.id)
        try:
            if spec.driver == "bridge":
                self._bridges.ready(network)
        except BaseException as error:
            self._undo(error, lambda: self._remove(network))
            raise
        finally:
            self._database.withdraw(intent)
        return network

    def _plan(self, spec: NetworkSpec, taken: Sequence[object]) -> Network:
        from trimaran.network import addresses

        connection = self._database.connection()
        ours = [
            addresses.network_of(str(subnet))
            for network in store.load_networks(connection)
            for subnet in network.subnets
        ]
        random = os.urandom(5).hex()
        ula = store.setting(connection, "ula", f"fd{random[:2]}:{random[2:6]}:{random[6:]}::/48")
        identity = os.urandom(32).hex()
        subnets = () if spec.driver == "cni" else addresses.plan_subnets(spec, [*taken, *ours], ula)  # type: ignore[list-item]
        interface = spec.interface or (f"tb{identity[:12]}" if spec.driver == "bridge" else "")
        return Network(identity, time.time(), spec, interface, subnets)

    @staticmethod
    def _taken_subnets() -> list[object]:
        from trimaran.linux import rtnetlink
        from trimaran.linux.netlink import Netlink
        from trimaran.network import addresses

        with Netlink() as netlink:
            routes = rtnetlink.routes(netlink)
        return [
            addresses.network_of(f"{store.text(address)}/{prefix}") for address, prefix, _ in routes if prefix
        ]

    def get(self, name: str) -> Network:
        """The network of that name, id or start of an id; the default one is made at its first use.

        Raises NotFound.
        """
        connection = self._database.connection()
        if name == DEFAULT_NETWORK and not store.load_networks(connection, "name = ?", name):
            try:
                return self.create(NetworkSpec(DEFAULT_NETWORK, dns=False))
            except Conflict:
                # Another process was faster, if it is there now.
                pass
        try:
            return store.find_network(connection, name)
        except NotFound as error:
            return self._from_cni(name, error)

    def _from_cni(self, name: str, missing: NotFound) -> Network:
        """The network that a file in the CNI configuration directories describes."""
        from trimaran.network.cni import directory

        try:
            directory.find(name, directory.config_directories())
        except NotFound:
            raise missing from None
        return self.create(NetworkSpec(name, driver="cni"))

    def networks(self) -> list[Network]:
        """All networks, by name."""
        return store.load_networks(self._database.connection())

    def endpoints(self, network: Network) -> list[Endpoint]:
        """The containers on a network."""
        return store.load_endpoints(self._database.connection(), "e.network_id = ?", network.id)

    def remove(self, name: str) -> None:
        """Remove a network. Raises NotFound, or Conflict while containers are on it."""
        network = store.find_network(self._database.connection(), name)
        with self._database.write():
            users = self.endpoints(network)
            if users:
                holders = ", ".join(sorted({endpoint.container_id[:12] for endpoint in users}))
                raise Conflict(
                    f"network {network.name} is in use",
                    why=f"by container {holders}",
                    hint="stop them, or disconnect them with: trimaran network disconnect",
                )
            intent = self._database.announce("network.remove", network.id)
        try:
            self._remove(network)
        finally:
            self._database.withdraw(intent)

    def _remove(self, network: Network) -> None:
        def forget() -> None:
            self._database.connection().execute("DELETE FROM network WHERE id = ?", (network.id,))

        if network.spec.driver == "bridge":
            self._bridges.forget(network, forget)
        else:
            forget()

    def prune(self, chosen: Callable[[Network], bool] = lambda _: True) -> list[str]:
        """Remove the networks that no container is on (the default one stays); the names removed."""
        removed: list[str] = []
        for network in self.networks():
            if network.name != DEFAULT_NETWORK and chosen(network) and not self.endpoints(network):
                try:
                    self.remove(network.id)
                except Conflict:
                    continue
                removed.append(network.name)
        return removed

    def attach(self, container_id: str, netns: int, request: NetworkRequest) -> NetworkResult:
        """Set up a container's network in the namespace behind the descriptor ``netns``. All or nothing.

        Raises Conflict (an address, name or port is taken; it names the holder), InvalidInput, NotFound,
        NetworkError, Unsupported or KernelError.
        """
        return self._attachments.attach(container_id, netns, request)

    def detach(self, container_id: str, netns: int | None = None) -> None:
        """Take down all of a container's network. Idempotent; its namespace may be gone already."""
        self._attachments.detach(container_id, netns)

    def connect(self, container_id: str, netns: int, endpoint: EndpointRequest) -> Endpoint:
        """Put a running container on one more network."""
        return self._attachments.connect(container_id, netns, endpoint)

    def disconnect(self, container_id: str, netns: int, network: str) -> None:
        """Take a running container off a network. Raises NotFound if it is not on it."""
        self._attachments.disconnect(
            container_id, netns, store.find_network(self._database.connection(), network)
        )

    def result(self, container_id: str) -> NetworkResult:
        """What :meth:`attach` gave, as it stands now; empty for a container without."""
        return self._attachments.result(container_id)

    def ports(self, container_id: str = "") -> list[PublishedPort]:
        """The published ports of a container, or of all."""
        connection = self._database.connection()
        return (
            store.load_ports(connection, "container_id = ?", container_id)
            if container_id
            else store.load_ports(connection)
        )

    def check(self, container_id: str, netns: int) -> None:
        """Have CNI plugins say whether all is as they made it for the container. Raises NetworkError."""
        self._attachments.check(container_id, netns)

    def status(self, name: str) -> None:
        """Have a CNI-backed network's plugins say whether it takes containers. Raises NetworkError if not."""
        from trimaran.network.cni import driver

        network = self.get(name)
        if network.spec.driver == "cni":
            driver.chain_of(driver.config_of(network)).status()

    def collect(self, name: str) -> None:
        """Have a CNI-backed network's plugins free what belongs to no container."""
        self._attachments.collect(self.get(name))

    def recover(self, live: Callable[[str], bool] | None = None) -> list[str]:
        """Undo or finish what dead processes left half done; what was done, in words.

        With ``live``, containers that it denies lose their network too; and bridges, rules and helpers
        of the others are made again where they are missing.
        """
        done = []
        for intent in self._database.abandoned():
            action = self._recovery(intent.kind, intent.subject)
            if action:
                action()
                self._database.withdraw(intent)
                done.append(f"{intent.kind} {intent.subject}")
        if live is not None:
            done += self._attachments.reconcile(live)
        return done

    def _recovery(self, kind: str, subject: str) -> Callable[[], None] | None:
        def remove() -> None:
            for network in store.load_networks(self._database.connection(), "id = ?", subject):
                self._remove(network)

        actions: dict[str, Callable[[], None]] = {
            "network.create": remove,
            "network.remove": remove,
            "network.attach": lambda: self.detach(subject),
            "network.detach": lambda: self.detach(subject),
            "network.connect": lambda: self._attachments.drop_endpoint(subject),
            "network.disconnect": lambda: self._attachments.drop_endpoint(subject),
        }
        return actions.get(kind)

    @staticmethod
    def _undo(first: BaseException, undo: Callable[[], None]) -> None:
        try:
            undo()
        except TrimaranError as second:
            first.add_note(f"undoing it failed too: {second}")


def _check_spec(spec: NetworkSpec) -> None:
    from trimaran.network import lan, parse

    parse.check_network_name(spec.name)
    if spec.name in _RESERVED:
        raise InvalidInput(f"a network cannot be named {spec.name}", why="the word has a meaning of its own")
    if spec.mtu and not 68 <= spec.mtu <= 65535:
        raise InvalidInput(f"the MTU {spec.mtu} is out of range", hint="68 to 65535 (1280 or more with IPv6)")
    if spec.driver in ("macvlan", "ipvlan"):
        lan.check(spec)
    elif spec.driver == "cni" and spec.cni:
        from trimaran.network.cni import directory

        directory.parse_text(spec.cni)
    elif spec.driver == "bridge" and spec.interface:
        parse.check_interface(spec.interface)
