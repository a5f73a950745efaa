"""Starting one container that does nothing: by the command, from a program that is up, on a network."""

from __future__ import annotations

import http.client
import itertools
import json
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

from bench.context import Bench, Entry, Job, attempt
from bench.measure import Contestant, Failure, command, quiet
from bench.peers import Engine
from bench.peers.docker import Docker

TRUE = ["/bin/true"]
# A sample of what is warm is the median of this many, one directly after the other.
IN_A_ROW = 5


def in_a_row(once: Callable[[], float]) -> Callable[[], float]:
    return lambda: statistics.median(once() for _ in range(IN_A_ROW))


def floor(bench: Bench) -> Contestant:
    """The kernel floor, with a network namespace, as the containers have."""
    scratch = bench.workspace.path / "floor-scratch"
    scratch.mkdir(exist_ok=True)
    arguments = [
        str(bench.workspace.compiled("floor")),
        str(bench.workspace.rootfs),
        str(scratch),
        "1",
        "net",
    ]
    return Contestant("kernel floor", lambda: int(quiet(arguments)) / 1e6)


def cold(bench: Bench) -> Iterator[Entry]:
    reference = bench.workspace.base_image
    yield attempt("kernel floor", lambda: floor(bench))
    yield from bench.engines(lambda e: Contestant(e.name, partial(command, e.run_command(reference, TRUE))))


class OverSocket(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def docker_by_api(engine: Engine, reference: str) -> Contestant:
    """The same four steps as requests to a daemon, from a program that is up: no docker command starts."""
    assert isinstance(engine, Docker)
    connection = OverSocket(f"{engine.directory}/d.sock")
    count = itertools.count()

    def ask(method: str, path: str, body: object = None) -> bytes:
        text = json.dumps(body) if body is not None else None
        connection.request(method, path, text, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        if answer.status >= 400:
            raise Failure(content.decode())
        return content

    def once() -> float:
        name = f"api{next(count)}"
        begin = time.perf_counter_ns()
        ask(
            "POST",
            f"/containers/create?name={name}",
            {"Image": reference, "Cmd": TRUE, "NetworkDisabled": True},
        )
        ask("POST", f"/containers/{name}/start")
        ask("POST", f"/containers/{name}/wait")
        ask("DELETE", f"/containers/{name}")
        return (time.perf_counter_ns() - begin) / 1e6

    return Contestant("docker API", in_a_row(once), connection.close)


def library(bench: Bench, isolation: str = "") -> Contestant:
    """Our library in this very process: create, start, wait, remove."""
    import trimaran

    reference = bench.workspace.base_image
    engine = trimaran.Engine(str(bench.workspace.path / "library"))

    def once() -> float:
        begin = time.perf_counter_ns()
        result = engine.run(reference, TRUE, network="none", isolation=isolation or "native")
        taken = time.perf_counter_ns() - begin
        if result.exit_code:
            raise Failure(f"exit code {result.exit_code}: {result.stderr!r}")
        return taken / 1e6

    return Contestant(isolation or "trimaran library", in_a_row(once), engine.close)


def ctr(engine: Engine, reference: str) -> Contestant:
    return Contestant("ctr run", in_a_row(lambda: command(engine.run_command(reference, TRUE))))


def warm(bench: Bench) -> Iterator[Entry]:
    reference = bench.workspace.base_image
    yield attempt("kernel floor", lambda: floor(bench))
    yield attempt("trimaran library", lambda: library(bench))
    if "containerd" in bench.wanted:
        yield attempt(
            "ctr run",
            lambda: Contestant(
                "ctr run", lambda: command(bench.engine("containerd").run_command(reference, TRUE))
            ),
        )
    if "docker" in bench.wanted:
        yield attempt("docker API", lambda: docker_by_api(bench.engine("docker"), reference))


def isolations(bench: Bench) -> Iterator[Entry]:
    """The library with each isolation, and with foreign runtimes in their place."""
    for name in ("native", "sandbox", "vm", "oci:runc", "oci:crun"):
        yield attempt(name, lambda name=name: library(bench, name))  # type: ignore[misc]


def network(bench: Bench) -> Iterator[Entry]:
    reference = bench.workspace.base_image
    yield from bench.engines(
        lambda e: Contestant(e.name, partial(command, e.run_command(reference, TRUE, network="bridge")))
    )


JOBS = (
    Job("run-cold", "The command: run --rm --network none of a static true", "ms", cold),
    Job(
        "run-warm",
        "From a program that is up: create, start, wait, remove of a static true",
        "ms",
        warm,
        rounds=50,
    ),
    Job("isolations", "From a program that is up: a static true in each isolation", "ms", isolations, 10, 60),
    Job("network", "The command: run --rm on a bridge network of a static true", "ms", network, rounds=10),
)
