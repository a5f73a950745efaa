"""What a bridge network costs: at the start of a container, and for the bytes between two."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial

from bench.context import Bench, Entry, Job
from bench.jobs.life import SLEEP, counter, remove
from bench.measure import Contestant, Failure, command
from bench.peers import Engine
from bench.peers.engine import command_lines
from trimaran.linux import _sys

SECONDS = 1.0
PORT = 5001
CHUNK = 1 << 17


def added(bench: Bench) -> Iterator[Entry]:
    """Milliseconds from the command's start to a running container, on a bridge less without a network."""
    reference = bench.workspace.base_image

    def start(engine: Engine, network: str) -> float:
        name = f"net{next(counter)}"
        words = engine.run_command(reference, SLEEP, name=name, detach=True, network=network)  # type: ignore[arg-type]
        taken = command(words)
        remove(engine, name)
        return taken

    yield from bench.engines(lambda e: Contestant(e.name, lambda: start(e, "bridge") - start(e, "none")))


def throughput(bench: Bench) -> Iterator[Entry]:
    reference = bench.workspace.base_image

    def contestant(engine: Engine) -> Contestant:
        before = set(sleepers())
        names = [f"net{next(counter)}" for _ in range(2)]
        for name in names:
            command(engine.run_command(reference, SLEEP, name=name, detach=True, network="bridge"))
        pids = sorted(set(sleepers()) - before)
        if len(pids) != 2:
            raise Failure(f"{len(pids)} containers of 2 are there")
        namespaces = [os.open(f"/proc/{pid}/ns/net", os.O_RDONLY) for pid in pids]
        return Contestant(
            engine.name, lambda: gigabits(*namespaces), partial(close, engine, names, namespaces)
        )

    yield from bench.engines(contestant)


def sleepers() -> list[int]:
    return [pid for pid, line in command_lines().items() if line.split() == SLEEP]


def close(engine: Engine, names: list[str], namespaces: list[int]) -> None:
    for namespace in namespaces:
        os.close(namespace)
    remove(engine, *names)


def gigabits(first: int, second: int) -> float:
    """Gbit/s of one TCP connection from one namespace to the other."""
    server = socket.socket(fileno=_sys.socket_in_netns(second, socket.AF_INET, socket.SOCK_STREAM))
    client = socket.socket(fileno=_sys.socket_in_netns(first, socket.AF_INET, socket.SOCK_STREAM))
    with server, client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("0.0.0.0", PORT))
        server.listen(1)
        client.connect((address(second), PORT))
        accepted, _ = server.accept()
        thread = threading.Thread(target=pour, args=(client,))
        thread.start()
        with accepted:
            begin, received = time.perf_counter(), 0
            while piece := accepted.recv(CHUNK):
                received += len(piece)
            taken = time.perf_counter() - begin
        thread.join()
    return received * 8 / taken / 1e9


def pour(client: socket.socket) -> None:
    data = bytes(CHUNK)
    until = time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        client.sendall(data)
    client.shutdown(socket.SHUT_WR)


def address(namespace: int) -> str:
    """The IPv4 address of the namespace's link that is not the loopback."""
    from trimaran.linux.netlink import Netlink
    from trimaran.linux.rtnetlink import addresses, text_of

    with Netlink(netns=namespace) as netlink:
        found = [
            text_of(packed) for index, packed, _ in addresses(netlink) if index != 1 and len(packed) == 4
        ]
    if not found:
        raise Failure("a container has no address")
    return found[0]


JOBS = (
    Job("network-added", "What a bridge network adds to the start of a container", "ms", added, rounds=15),
    Job(
        "network-throughput",
        "One TCP connection between two containers on a bridge",
        "Gbit/s",
        throughput,
        rounds=5,
        lower_is_better=False,
    ),
)
