"""The resolver's process, which :mod:`trimaran.network.dns.helper` starts."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from functools import partial

from trimaran.errors import TrimaranError
from trimaran.linux import netlink, nftables
from trimaran.network import host
from trimaran.network.bridge import Bridges
from trimaran.network.dns import helper
from trimaran.network.dns.names import HostServers
from trimaran.network.dns.server import Resolver
from trimaran.network.schema import AREA
from trimaran.network.store import load_networks
from trimaran.state import Database

_CONTROL = 3
_CHECK_SECONDS = 10.0
_SERVED = "driver = 'bridge' AND id IN (SELECT network_id FROM network_endpoint)"


class Process:
    """One run of the resolver: what it serves follows the database; it ends when that is nothing."""

    def __init__(self, directory: str, database: Database, control: socket.socket) -> None:
        self._directory = directory
        self._database = database
        self._control = control
        self._resolver = Resolver(database, HostServers())
        self._serving: dict[str, list[socket.socket]] = {}
        self._bridges = Bridges(database, host.Lock(os.path.join(directory, "rules.lock")), lambda _: None)
        self._rules = netlink.Netlink(netlink.NETLINK_NETFILTER)
        self._rules.subscribe(nftables.NFNLGRP_NFTABLES)
        self._damaged = False
        control.setblocking(False)
        self._resolver.watch(control, self._told)
        self._resolver.watch(self._rules.fileno(), self._rules_changed)

    def adopt(self, bound: socket.socket) -> None:
        """Serve a socket that was handed over."""
        self._serving.setdefault(bound.getsockname()[0], []).append(bound)
        self._resolver.add(bound)

    def run(self) -> None:
        """Serve until no container needs it, or the root directory is gone."""
        due = 0.0
        while True:
            if time.monotonic() >= due:
                if not os.path.exists(self._database.path):
                    return
                due = time.monotonic() + _CHECK_SECONDS
                self._try("serve all networks", self._update)
            if not self._serving or not self._wanted_here():
                return
            self._resolver.step(due - time.monotonic())
            if self._damaged:
                self._damaged = False
                self._repair()

    def _wanted_here(self) -> bool:
        """Whether others can still find us: the directory may have been removed under us."""
        try:
            os.stat(os.path.join(self._directory, helper.CONTROL))
        except FileNotFoundError:
            return False
        return True

    def close(self) -> None:
        """Free the ports before the control socket, whose end tells others that they may have them."""
        for sockets in self._serving.values():
            for bound in sockets:
                bound.close()
        self._control.close()

    def _update(self) -> None:
        networks = load_networks(self._database.connection(), _SERVED)
        wanted = {s.gateway for n in networks if n.spec.dns for s in n.subnets if s.gateway}
        for address in set(self._serving) - wanted:
            for served in self._serving.pop(address):
                self._resolver.remove(served)
        for address in wanted - set(self._serving):
            for kind in helper.KINDS:
                bound = helper.bind(address, self._bridges.resolver_port, kind)
                self.adopt(socket.socket(fileno=bound.detach()))

    def _told(self) -> None:
        try:
            client, _ = self._control.accept()
        except BlockingIOError:
            return
        with client:
            client.settimeout(1)
            try:
                client.recv(64)
                self._update()
                client.send(b"ok")
            except TrimaranError as error:
                client.send(str(error).encode())
            except OSError:
                # Who told us has not waited for the answer.
                pass

    def _rules_changed(self) -> None:
        changes = self._rules.announced()
        self._damaged = self._damaged or not changes or any(kind in nftables.DELETIONS for kind in changes)

    def _repair(self) -> None:
        """Make rules and bridges again that somebody has flushed; what fails is for the log."""
        for network in load_networks(self._database.connection(), _SERVED):
            self._try(f"make network {network.name} again", partial(self._bridges.ready, network))

    @staticmethod
    def _try(what: str, do: Callable[[], object]) -> None:
        try:
            do()
        except TrimaranError as error:
            sys.stderr.write(f"cannot {what}: {error}\n")


def main(directory: str, database: str, count: str) -> None:
    """Serve, on the control socket (descriptor 3) and the ``count`` bound sockets behind it."""
    process = Process(directory, Database(database, [AREA]), socket.socket(fileno=_CONTROL))
    for fd in range(_CONTROL + 1, _CONTROL + 1 + int(count)):
        process.adopt(socket.socket(fileno=fd))
    try:
        process.run()
    finally:
        process.close()
