"""Rows of the network tables to data and back. Every function works inside its caller's transaction."""

from __future__ import annotations

import _socket
import json
import os
import sqlite3
from typing import Any

from trimaran.errors import Conflict, InvalidInput, NotFound
from trimaran.network.model import Endpoint, EndpointRequest, Network, NetworkSpec, PublishedPort, Subnet

_FAMILY = {4: _socket.AF_INET, 6: _socket.AF_INET6}


def pack(address: str) -> bytes:
    """An address as its 4 or 16 bytes."""
    return _socket.inet_pton(_FAMILY[6 if ":" in address else 4], address)


def text(address: bytes | None) -> str:
    """Bytes as an address; "" for None and for the empty address."""
    return _socket.inet_ntop(_FAMILY[4 if len(address) == 4 else 6], address) if address else ""


def setting(connection: sqlite3.Connection, key: str, initial: str) -> str:
    """A value that is chosen once for a root directory."""
    connection.execute("INSERT OR IGNORE INTO network_setting VALUES (?, ?)", (key, initial))
    row = connection.execute("SELECT value FROM network_setting WHERE key = ?", (key,)).fetchone()
    return str(row[0])


def save_network(connection: sqlite3.Connection, network: Network) -> None:
    """Insert a network. Raises Conflict if its name is taken."""
    spec = {k: v for k, v in vars(network.spec).items() if v not in ((), {}, "")}
    row = (
        network.id,
        network.name,
        network.spec.driver,
        network.interface,
        json.dumps(spec),
        network.created,
    )
    try:
        connection.execute("INSERT INTO network VALUES (?, ?, ?, ?, ?, ?)", row)
    except sqlite3.IntegrityError:
        raise Conflict(
            f"a network named {network.name} exists",
            hint=f"see it with: trimaran network inspect {network.name}",
        ) from None
    for s in network.subnets:
        gateway = pack(s.gateway) if s.gateway else None
        first = pack(s.first)
        values = (network.id, s.family, pack(s.address), s.prefix, gateway, first, pack(s.last), first)
        connection.execute("INSERT INTO network_subnet VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)


def load_networks(connection: sqlite3.Connection, where: str = "1", *values: str) -> list[Network]:
    """Networks by name order; ``where`` is a condition on the network table."""
    rows = connection.execute(f"SELECT * FROM network WHERE {where} ORDER BY name", values).fetchall()
    return [_network(connection, row) for row in rows]


def _network(connection: sqlite3.Connection, row: sqlite3.Row) -> Network:
    subnets = connection.execute(
        "SELECT * FROM network_subnet WHERE network_id = ? ORDER BY family", (row["id"],)
    )
    fields: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(row["spec"]).items()
    }
    return Network(
        id=row["id"],
        created=row["created"],
        spec=NetworkSpec(**fields),
        interface=row["interface"],
        subnets=tuple(
            Subnet(
                s["family"],
                text(s["address"]),
                s["prefix"],
                text(s["gateway"]) or None,
                text(s["first"]),
                text(s["last"]),
            )
            for s in subnets
        ),
    )


def find_network(connection: sqlite3.Connection, name: str) -> Network:
    """The network of that name, id, or unambiguous start of an id. Raises NotFound."""
    found = load_networks(connection, "name = ? OR id = ?", name, name)
    if not found and len(name) >= 4 and name.isalnum():
        found = load_networks(connection, "id GLOB ?", name + "*")
    if len(found) != 1:
        raise NotFound(f"no network {name}", hint="list them with: trimaran network ls")
    return found[0]


def allocate(connection: sqlite3.Connection, network: Network, family: int, wanted: str) -> bytes | None:
    """Reserve nothing yet, but find a free address: the wanted one, or the next after the last given.

    None if the network has no such family. Raises Conflict if it is taken or none is free, InvalidInput
    if the wanted one lies outside.
    """
    subnet = network.subnet(family)
    if subnet is None:
        if wanted:
            raise InvalidInput(
                f"{wanted} cannot be given", why=f"network {network.name} has no IPv{family} subnet"
            )
        return None
    if wanted:
        return _claim(connection, network, subnet, pack(wanted))
    size = 4 if family == 4 else 16
    query = "SELECT cursor FROM network_subnet WHERE network_id = ? AND family = ?"
    cursor = int.from_bytes(connection.execute(query, (network.id, family)).fetchone()[0], "big")
    first, last = int.from_bytes(pack(subnet.first), "big"), int.from_bytes(pack(subnet.last), "big")
    gateway = int.from_bytes(pack(subnet.gateway), "big") if subnet.gateway else 0
    count = connection.execute(
        f"SELECT count(*) FROM network_endpoint WHERE network_id = ? AND ipv{family} IS NOT NULL",
        (network.id,),
    ).fetchone()[0]
    # Going round, at most one address more than are taken (and the gateway's) has to be looked at.
    for step in range(min(last - first + 1, count + 2)):
        number = first + (cursor - first + step) % (last - first + 1)
        address = number.to_bytes(size, "big")
        if number != gateway and not _holder(connection, network, address):
            following = first + (number - first + 1) % (last - first + 1)
            connection.execute(
                "UPDATE network_subnet SET cursor = ? WHERE network_id = ? AND family = ?",
                (following.to_bytes(size, "big"), network.id, family),
            )
            return address
    raise Conflict(
        f"network {network.name} has no free IPv{family} address",
        why=f"all of {subnet.first} to {subnet.last} are taken",
        hint="remove containers, or create a network with a larger subnet",
    )


def _claim(connection: sqlite3.Connection, network: Network, subnet: Subnet, address: bytes) -> bytes:
    number, base = int.from_bytes(address, "big"), int.from_bytes(pack(subnet.address), "big")
    shift = len(address) * 8 - subnet.prefix
    broadcast = subnet.family == 4 and number == base | (1 << shift) - 1
    if number >> shift != base >> shift or number == base or broadcast:
        raise InvalidInput(
            f"{text(address)} is not for a container", why=f"network {network.name} is {subnet}"
        )
    holder = "the gateway" if text(address) == subnet.gateway else _holder(connection, network, address)
    if holder:
        raise Conflict(
            f"the address {text(address)} is taken", why=f"{holder} has it on network {network.name}"
        )
    return address


def _holder(connection: sqlite3.Connection, network: Network, address: bytes) -> str:
    column = "ipv4" if len(address) == 4 else "ipv6"
    row = connection.execute(
        f"SELECT container_id FROM network_endpoint WHERE network_id = ? AND {column} = ?",
        (network.id, address),
    ).fetchone()
    return f"container {row[0][:12]}" if row else ""


def mac_of(address: bytes) -> str:
    """A MAC made from an address, so that a neighbour's cache stays right when the address is given again."""
    return ":".join(f"{byte:02x}" for byte in b"\x02\x74" + address[-4:])


def save_endpoint(
    connection: sqlite3.Connection,
    container_id: str,
    network: Network,
    position: int,
    request: EndpointRequest,
    names: tuple[str, ...],
) -> Endpoint:
    """Give a container its place on a network. Raises Conflict or InvalidInput."""
    # A CNI plugin chooses, and tells later.
    ours = network.spec.driver != "cni"
    ipv4 = allocate(connection, network, 4, request.ipv4.partition("/")[0]) if ours else None
    ipv6 = allocate(connection, network, 6, request.ipv6.partition("/")[0]) if ours else None
    identity = os.urandom(5).hex()
    endpoint = Endpoint(
        id=identity,
        container_id=container_id,
        network_id=network.id,
        network=network.name,
        interface=request.interface or f"eth{position}",
        host_interface=f"tv{identity}" if network.spec.driver == "bridge" else "",
        mac=request.mac or mac_of(ipv4 or ipv6 or os.urandom(4)),
        ipv4=text(ipv4),
        ipv6=text(ipv6),
        names=names,
        driver=network.spec.driver,
    )
    row = (
        endpoint.id,
        network.id,
        container_id,
        position,
        endpoint.interface,
        endpoint.host_interface,
        endpoint.mac,
        ipv4,
        ipv6,
    )
    try:
        connection.execute("INSERT INTO network_endpoint VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    except sqlite3.IntegrityError as error:
        what = f"MAC address {endpoint.mac} is taken" if "mac" in str(error) else "container is on it already"
        raise Conflict(f"cannot join network {network.name}", why=f"the {what}") from None
    for name in dict.fromkeys(name.lower() for name in names):
        connection.execute("INSERT INTO network_name VALUES (?, ?)", (endpoint.id, name))
    return endpoint


def load_endpoints(connection: sqlite3.Connection, where: str, *values: str) -> list[Endpoint]:
    """Endpoints in the order in which their containers joined; ``where`` may name ``e`` and ``n``."""
    rows = connection.execute(
        "SELECT e.*, n.name AS network, n.driver"
        " FROM network_endpoint e JOIN network n ON n.id = e.network_id"
        f" WHERE {where} ORDER BY e.container_id, e.position",
        values,
    ).fetchall()
    return [_endpoint(connection, row) for row in rows]


def _endpoint(connection: sqlite3.Connection, row: sqlite3.Row) -> Endpoint:
    names = connection.execute("SELECT name FROM network_name WHERE endpoint_id = ?", (row["id"],)).fetchall()
    return Endpoint(
        id=row["id"],
        container_id=row["container_id"],
        network_id=row["network_id"],
        network=row["network"],
        interface=row["interface"],
        host_interface=row["host_interface"],
        mac=row["mac"],
        ipv4=text(row["ipv4"]),
        ipv6=text(row["ipv6"]),
        names=tuple(name[0] for name in names),
        driver=row["driver"],
    )


def load_ports(connection: sqlite3.Connection, where: str = "1", *values: str) -> list[PublishedPort]:
    """Published ports; ``where`` is a condition on the port table."""
    rows = connection.execute(
        f"SELECT * FROM network_port WHERE {where} ORDER BY protocol, host_port, family", values
    ).fetchall()
    return [
        PublishedPort(
            r["container_id"],
            r["endpoint_id"],
            r["protocol"],
            r["family"],
            text(r["host_ip"]),
            r["host_port"],
            r["container_port"],
        )
        for r in rows
    ]


def save_port(connection: sqlite3.Connection, port: PublishedPort) -> None:
    """Publish a port. Raises Conflict that names the container which holds it."""
    holder = port_holder(connection, port)
    if holder:
        raise Conflict(
            f"the host's port {port.host_port}/{port.protocol} is taken",
            why=f"container {holder[:12]} publishes it",
            hint="choose another host port, or leave it out to have a free one chosen",
        )
    host_ip = pack(port.host_ip) if port.host_ip else b""
    row = (
        port.protocol,
        port.family,
        host_ip,
        port.host_port,
        port.container_port,
        port.container_id,
        port.endpoint_id,
    )
    connection.execute("INSERT INTO network_port VALUES (?, ?, ?, ?, ?, ?, ?)", row)


def port_holder(connection: sqlite3.Connection, port: PublishedPort) -> str:
    """The container that publishes the port on the same address, or on all; "" if none does."""
    host_ip = pack(port.host_ip) if port.host_ip else b""
    row = connection.execute(
        "SELECT container_id FROM network_port WHERE protocol = ? AND family = ? AND host_port = ?"
        " AND (host_ip = ? OR host_ip = x'' OR ? = x'')",
        (port.protocol, port.family, port.host_port, host_ip, host_ip),
    ).fetchone()
    return row[0] if row else ""
