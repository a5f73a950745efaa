"""Containers on CNI-backed networks: what was asked for to a plugin's terms, and what it gave back."""

from __future__ import annotations

import os
import sqlite3
from typing import Any

from trimaran.network.cni import directory
from trimaran.network.cni.chain import Attachment, Chain
from trimaran.network.model import Endpoint, EndpointRequest, Network, NetworkRequest, PublishedPort
from trimaran.network.store import pack
from trimaran.spec import jsonio
from trimaran.spec.cni import NetworkList, Result, parse_result
from trimaran.state import Database


def config_of(network: Network) -> NetworkList:
    """The network's configuration: its own, or the one in the directories under its name."""
    if network.spec.cni:
        return directory.parse_text(network.spec.cni)
    return directory.find(network.name, directory.config_directories())


def chain_of(config: NetworkList) -> Chain:
    """The configuration's plugins, where this host has them."""
    return Chain(config, directory.plugin_directories())


def save(
    connection: sqlite3.Connection,
    network: Network,
    endpoint: Endpoint,
    wish: EndpointRequest,
    request: NetworkRequest,
    ports: list[PublishedPort],
) -> None:
    """Note what plugins will be called with: removing must work when the configuration has changed."""
    config = config_of(network)
    versions = {"cniVersion": config.version, "name": config.name, "plugins": config.plugins}
    arguments = {"capabilities": _capabilities(wish, request, ports), "args": dict(request.cni_args)}
    row = (endpoint.id, jsonio.dump(versions), jsonio.dump(arguments))
    connection.execute("INSERT INTO network_cni (endpoint_id, config, arguments) VALUES (?, ?, ?)", row)


def _capabilities(
    wish: EndpointRequest, request: NetworkRequest, ports: list[PublishedPort]
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "portMappings": [
            {
                "hostPort": port.host_port,
                "containerPort": port.container_port,
                "protocol": port.protocol,
                **({"hostIP": port.host_ip} if port.host_ip else {}),
            }
            for port in ports
        ],
        "ips": [address for address in (wish.ipv4, wish.ipv6) if address],
        "mac": wish.mac,
        "aliases": list(wish.aliases),
        "dns": {k: list(v) for k, v in _dns(request).items() if v},
        "bandwidth": _bandwidth(request),
    }
    return {key: value for key, value in found.items() if value}


def _dns(request: NetworkRequest) -> dict[str, tuple[str, ...]]:
    wanted = request.dns
    return {"servers": wanted.servers, "searches": wanted.search, "options": wanted.options}


def _bandwidth(request: NetworkRequest) -> dict[str, int]:
    """Rates in bits a second; a burst may be as large as the plugin can count (32 bits)."""
    found: dict[str, int] = {}
    for name, rate in (("ingress", request.ingress), ("egress", request.egress)):
        if rate:
            found |= {f"{name}Rate": rate, f"{name}Burst": (1 << 31) - 1}
    return found


class CniEndpoints:
    """The endpoints on CNI-backed networks of one root directory."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def connect(self, endpoint: Endpoint, netns: int) -> Result:
        """Have the plugins set up the endpoint that was saved, and note what they gave."""
        chain, attachment, _ = self._load(endpoint, netns)
        result, raw = chain.add(attachment)
        addresses = [address.address.partition("/")[0] for address in result.ips]
        ipv4 = next((pack(address) for address in addresses if ":" not in address), None)
        ipv6 = next((pack(address) for address in addresses if ":" in address), None)
        mac = next((i.mac for i in result.interfaces if i.name == endpoint.interface and i.mac), endpoint.mac)
        with self._database.write() as connection:
            connection.execute(
                "UPDATE network_cni SET result = ? WHERE endpoint_id = ?", (jsonio.dump(raw), endpoint.id)
            )
            connection.execute(
                "UPDATE network_endpoint SET ipv4 = ?, ipv6 = ?, mac = ? WHERE id = ?",
                (ipv4, ipv6, mac.lower(), endpoint.id),
            )
        return result

    def disconnect(self, endpoint: Endpoint, netns: int | None) -> None:
        """Have the plugins take down the endpoint."""
        chain, attachment, previous = self._load(endpoint, netns)
        chain.delete(attachment, previous)

    def check(self, endpoint: Endpoint, netns: int) -> None:
        """Have the plugins say whether all is as it was made. Raises NetworkError if not."""
        chain, attachment, previous = self._load(endpoint, netns)
        chain.check(attachment, previous)

    def result(self, endpoint_id: str) -> Result:
        """What the plugins gave."""
        row = self._row(endpoint_id)
        return parse_result(jsonio.parse(row["result"].encode()) if row and row["result"] else {})

    def collect(self, network: Network) -> None:
        """Have the plugins free what belongs to no container of ours."""
        rows = self._database.connection().execute(
            "SELECT container_id, interface FROM network_endpoint WHERE network_id = ?", (network.id,)
        )
        chain_of(config_of(network)).collect([(row[0], row[1]) for row in rows.fetchall()])

    def _row(self, endpoint_id: str) -> Any:
        query = "SELECT * FROM network_cni WHERE endpoint_id = ?"
        return self._database.connection().execute(query, (endpoint_id,)).fetchone()

    def _load(self, endpoint: Endpoint, netns: int | None) -> tuple[Chain, Attachment, Any]:
        row = self._row(endpoint.id)
        arguments = jsonio.parse(row["arguments"].encode())
        attachment = Attachment(
            endpoint.container_id,
            endpoint.interface,
            f"/proc/{os.getpid()}/fd/{netns}" if netns is not None else "",
            arguments["capabilities"],
            arguments["args"],
        )
        previous = jsonio.parse(row["result"].encode()) if row["result"] else None
        return chain_of(NetworkList(jsonio.parse(row["config"].encode()))), attachment, previous
