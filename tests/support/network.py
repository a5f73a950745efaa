"""Test hosts in network namespaces: a host, a machine outside it, and containers, with real sockets.

The calling thread lives in the host's namespace while a :class:`World` is open. A socket stays in the
namespace where it was made, so one test plays all sides.
"""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

from trimaran.linux import _sys
from trimaran.linux import rtnetlink as rt
from trimaran.linux.netlink import Netlink
from trimaran.network.bridge import Bridges
from trimaran.network.dns.helper import Helper
from trimaran.network.host import Lock
from trimaran.network.manager import NetworkManager
from trimaran.network.model import EndpointRequest, NetworkRequest, NetworkResult
from trimaran.network.parse import parse_network, parse_ports
from trimaran.network.schema import AREA
from trimaran.network.store import pack
from trimaran.state import Database

CLONE_NEWNET = 0x40000000
HOST, OUTSIDE = "203.0.113.1", "203.0.113.2"
HOST6, OUTSIDE6 = "2001:db8::1", "2001:db8::2"


def new_namespace() -> int:
    """A descriptor of a new network namespace; the thread is back in its own."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _sys.unshare(CLONE_NEWNET)
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    finally:
        _sys.setns(home)
        os.close(home)


class Box:
    """A machine: its namespace and what it does on the network."""

    def __init__(self, id: str, netns: int) -> None:
        self.id = id
        self.netns = netns

    def socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> socket.socket:
        made = socket.socket(fileno=_sys.socket_in_netns(self.netns, family, kind))
        made.settimeout(5)
        return made

    def listen(self, port: int, address: str = "0.0.0.0") -> socket.socket:
        """A TCP server."""
        server = self.socket(_family(address))
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        server.listen(8)
        return server

    def datagrams(self, port: int, address: str = "0.0.0.0") -> socket.socket:
        """A UDP server."""
        server = self.socket(_family(address), socket.SOCK_DGRAM)
        server.bind((address, port))
        return server

    def connect(self, address: str, port: int, timeout: float = 5) -> socket.socket:
        """A TCP client."""
        client = self.socket(_family(address))
        client.settimeout(timeout)
        try:
            client.connect((address, port))
        except OSError:
            client.close()
            raise
        return client

    def reaches(self, address: str, port: int, timeout: float = 0.4) -> bool:
        """Whether a TCP connection comes about."""
        try:
            self.connect(address, port, timeout).close()
        except OSError:
            return False
        return True

    def links(self) -> dict[str, rt.Link]:
        with Netlink(netns=self.netns) as netlink:
            return {link.name: link for link in rt.links(netlink)}

    def addresses(self) -> set[str]:
        with Netlink(netns=self.netns) as netlink:
            found = {f"{rt.text_of(address)}/{prefix}" for _, address, prefix in rt.addresses(netlink)}
        return {text for text in found if not text.startswith(("fe80:", "127.", "::1/"))}

    def run(self, *command: str) -> str:
        """Run a command there; its output."""
        wrapped = ["nsenter", f"--net=/proc/{os.getpid()}/fd/{self.netns}", *command]
        return subprocess.run(wrapped, check=True, capture_output=True, text=True).stdout


class World:
    """A host with a link to a machine outside, and a root directory of networks."""

    def __init__(self, directory: Path, *, bridged_through_ip: bool = True) -> None:
        self.directory = directory
        self._bridged_through_ip = bridged_through_ip
        self._exit = ExitStack()

    def __enter__(self) -> World:
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self._exit.callback(os.close, home)
        self.outside = self._box("outside")
        self.host = self._box("host")
        _sys.setns(self.host.netns)
        self._exit.callback(_sys.setns, home)
        self._cable()
        for setting in Path("/proc/sys/net/bridge").glob("bridge-nf-call-ip*"):
            setting.write_text("1" if self._bridged_through_ip else "0")
        self.database = Database(str(self.directory / "state.db"), [AREA])
        self._exit.callback(self.database.close)
        self.steps: list[str] = []
        self.manager = NetworkManager(self.database, str(self.directory), step=self.steps.append)
        # With its last container the resolver ends.
        self._exit.callback(lambda: self.manager.recover(lambda _: False))
        return self

    def __exit__(self, *_: object) -> None:
        # A resolver ends when no container is left for it; a test may have left its containers.
        with self.database.write() as connection:
            connection.execute("DELETE FROM network_endpoint")
        bridges = Bridges(self.database, Lock(str(self.directory / "rules.lock")), self.steps.append)
        Helper(str(self.directory), self.database.path, bridges).changed()
        self._exit.close()

    def _box(self, name: str) -> Box:
        netns = new_namespace()
        self._exit.callback(os.close, netns)
        return Box(name, netns)

    def _cable(self) -> None:
        with Netlink() as here, Netlink(netns=self.outside.netns) as there:
            here.send(rt.set_link(1, up=True), rt.new_veth("wan0", "lan0", self.outside.netns))
            there.send(rt.set_link(1, up=True))
            for netlink, name, own in ((here, "wan0", (HOST, HOST6)), (there, "lan0", (OUTSIDE, OUTSIDE6))):
                link = rt.find_link(netlink, name)
                assert link is not None
                netlink.send(
                    rt.set_link(link.index, up=True),
                    rt.add_address(link.index, pack(own[0]), 24),
                    rt.add_address(link.index, pack(own[1]), 64),
                )
            here.send(rt.add_route(None, pack(OUTSIDE)), rt.add_route(None, pack(OUTSIDE6)))

    def container(self, id: str) -> Box:
        """A container's namespace, with nothing set up."""
        return self._box(id)

    def attached(
        self, id: str, *networks: str, ports: tuple[str, ...] = (), name: str = ""
    ) -> tuple[Box, NetworkResult]:
        """A container on networks (as ``--network`` says them), with ports published."""
        box = self.container(id)
        endpoints = tuple(parse_network(text) for text in networks) or (EndpointRequest(),)
        request = NetworkRequest(endpoints, tuple(map(parse_ports, ports)), name=name)
        return box, self.manager.attach(id, box.netns, request)

    def traces(self) -> dict[str, object]:
        """All that networks leave on the host: links, rules, rows."""
        connection = self.database.connection()
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        counted = [t for t in tables if t.startswith("network") and t != "network_setting"] + ["intent"]
        rules = subprocess.run(["nft", "list", "ruleset"], check=True, capture_output=True, text=True).stdout
        return {
            "links": sorted(self.host.links()),
            "rules": rules,
            **{t: connection.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in counted},
        }


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def talk(client: socket.socket, server: socket.socket, payload: bytes = b"hello") -> str:
    """Send over a connection from client to server and back; the client's address as the server sees it."""
    # Sent first: pasta completes a connection only with its first data.
    client.sendall(payload)
    accepted, peer = server.accept()
    with accepted, client:
        accepted.settimeout(5)
        assert accepted.recv(4096) == payload
        accepted.sendall(payload[::-1])
        assert client.recv(4096) == payload[::-1]
    return str(peer[0])
