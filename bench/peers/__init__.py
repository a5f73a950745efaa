"""The engines and runtimes that take the jobs, Trimaran among them."""

from __future__ import annotations

from collections.abc import Iterator

from bench.peers.containerd import Containerd
from bench.peers.docker import Docker
from bench.peers.engine import Engine
from bench.peers.podman import Podman
from bench.peers.trimaran import Trimaran

__all__ = ["ENGINES", "Engine", "known"]

ENGINES: dict[str, type[Engine]] = {
    "trimaran": Trimaran,
    "containerd": Containerd,
    "docker": Docker,
    "podman": Podman,
}


def known() -> Iterator[str]:
    yield from ENGINES
