"""Machines for tests: a root file system with busybox, and containers that are removed whatever happens."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.support.bundles import BUSYBOX, make_root, usual_config

from trimaran.isolation import CreateRequest, ExecRequest, Process, Root, Stdio
from trimaran.monitor import Control, read_exit
from trimaran.vm.hull import VmIsolation

EXIT_SECONDS = 60


@dataclass
class Containers:
    """Makes containers in machines and waits for them."""

    hull: VmIsolation
    layer: Path
    directory: Path
    names: itertools.count = field(default_factory=lambda: itertools.count(1))
    made: list[str] = field(default_factory=list)
    process: Process | None = None

    def create(
        self, *args: str, start: bool = True, root: Root | None = None, **change: Any
    ) -> tuple[str, Path]:
        """(id, state directory of its monitor). CHANGE: ``options``, ``stdio``, or parts of the config."""
        id = f"vm{next(self.names)}"
        state = self.directory / "monitors" / id
        state.mkdir(parents=True, mode=0o700)
        options, stdio = change.pop("options", {}), change.pop("stdio", None)
        config = usual_config(*args, **change.pop("process", {}))
        config["mounts"] += change.pop("mounts", [])
        config["linux"].update(change.pop("linux", {}))
        config.update(change)
        default = Root(lower=(str(self.layer),), upper=str(state), work=str(state))
        request = CreateRequest(
            id,
            str(self.directory),
            config,
            root or default,
            str(state),
            stdio or Stdio(log=f"json:{state}/log"),
            start=start,
            options=options,
        )
        self.made.append(id)
        self.process = self.hull.create(request)
        return id, state

    def exec(self, id: str, *args: str, stdio: Stdio | None = None, **process: Any) -> Path:
        """State directory of the monitor of one more process."""
        name = f"exec{next(self.names)}"
        state = self.directory / "monitors" / f"{id}-{name}"
        state.mkdir(mode=0o700)
        wanted = usual_config(*args, **process)["process"]
        self.hull.exec(id, ExecRequest(name, wanted, str(state), stdio or Stdio(log=f"json:{state}/log")))
        return state

    def run(self, *args: str, **change: Any) -> tuple[int, str]:
        """(exit code, output) of a container."""
        _, state = self.create(*args, **change)
        return finished(state)

    def close(self) -> None:
        for id in self.made:
            self.hull.delete(id, force=True)


def finished(state: Path) -> tuple[int, str]:
    """(exit code, output) of a monitored process, once it has ended."""
    deadline = time.monotonic() + EXIT_SECONDS
    while (record := read_exit(str(state))) is None:
        assert time.monotonic() < deadline, "the process did not end"
        time.sleep(0.01)
    lines = (state / "log").read_text().splitlines()
    return record.code, "".join(json.loads(line)["log"] for line in lines)


def wait_output(control: Control, text: bytes, seconds: float = 30) -> bytes:
    """What a client of a monitor receives up to TEXT."""
    received = b""
    deadline = time.monotonic() + seconds
    while text not in received:
        output = control.receive(max(0.01, deadline - time.monotonic()))
        assert output is not None, received
        received += output.data
    return received


@pytest.fixture(scope="session")
def vm_layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not Path(BUSYBOX).exists():
        pytest.skip("needs busybox-static")
    return make_root(tmp_path_factory.mktemp("vm") / "layer")


@pytest.fixture
def containers(vm_layer: Path, tmp_path: Path):
    if not shutil.which("qemu-system-x86_64"):
        pytest.skip("needs qemu-system-x86_64 (package qemu-system-x86)")
    made = Containers(VmIsolation(str(tmp_path / "state")), vm_layer, tmp_path)
    yield made
    made.close()
