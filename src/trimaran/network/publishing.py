"""Reserving ports of the host: in the database against others of ours, by binding them against all."""

from __future__ import annotations

import _socket
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import ExitStack

from trimaran.errors import Conflict
from trimaran.network import ports, store
from trimaran.network.model import Endpoint, PortRequest, PublishedPort
from trimaran.network.value import replace

_TRIES = 64


def reserve(
    connection: sqlite3.Connection, requests: Iterable[PortRequest], endpoint: Endpoint, held: ExitStack
) -> list[PublishedPort]:
    """Save the ports that lead to the endpoint; ``held`` keeps them bound. Raises Conflict, InvalidInput."""
    published: list[PublishedPort] = []
    for request in requests:
        for group in ports.expand(request, endpoint):
            chosen = _choose(connection, group, held)
            for port in chosen:
                store.save_port(connection, port)
            published += chosen
    return published


def _choose(
    connection: sqlite3.Connection, group: Sequence[PublishedPort], held: ExitStack
) -> Sequence[PublishedPort]:
    """Bind the host port of all address families; for port 0, one that is free in each."""
    if group[0].host_port:
        for port in group:
            # One of ours is refused when it is saved, with the better words.
            if not store.port_holder(connection, port):
                _bind(port, held)
        return group
    for _ in range(_TRIES):
        first = _bind(group[0], held)
        number = first.getsockname()[1] if first else _any_port()
        candidates = [replace(port, host_port=number) for port in group]
        if any(store.port_holder(connection, port) for port in candidates):
            continue
        try:
            for port in candidates[1:]:
                _bind(port, held)
        except Conflict:
            continue
        return candidates
    raise Conflict("no port of the host is free", hint="give a host port with -p HOST:CONTAINER")


def _bind(port: PublishedPort, held: ExitStack) -> _socket.socket | None:
    bound = ports.hold(port)
    if bound:
        held.callback(bound.close)
    return bound


def _any_port() -> int:
    """A port out of the dynamic range (RFC 6335), for a protocol whose sockets this kernel lacks."""
    import random

    return random.randrange(49152, 65536)
