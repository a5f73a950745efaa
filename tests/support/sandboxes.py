"""Running programs in the sandbox hull, for its tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import bundles

from trimaran.isolation import CreateRequest, ExecRequest, Process, Root, Stdio
from trimaran.linux import _sys
from trimaran.monitor import read_exit
from trimaran.sandbox.hull import SandboxIsolation

CAPABILITIES = [
    *("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"),
    *("CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_MKNOD", "CAP_SETFCAP"),
]
HOST_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def config(argv: list[str], **process: object) -> dict:
    """An OCI configuration for the sandbox, without a network."""
    sets = dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES)
    return {
        "ociVersion": "1.1.0",
        "process": {
            "args": argv,
            "env": [HOST_PATH, "HOME=/root", "LC_ALL=C.UTF-8", "TERM=xterm"],
            "cwd": "/",
            "user": {"uid": 0, "gid": 0},
            "capabilities": sets,
            **process,
        },
        "hostname": "box",
        "mounts": [{"destination": "/tmp", "type": "tmpfs"}],
        "linux": {"namespaces": [{"type": "network"}, {"type": "pid"}, {"type": "mount"}]},
    }


class Box:
    """A hull in a directory of its own, and what its containers print."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.hull = SandboxIsolation(str(directory / "hull"))
        self.count = 0
        self.states: dict[int, str] = {}

    def root(self) -> Root:
        """A small image with busybox."""
        image = self.directory / "image"
        if not image.exists():
            bundles.make_root(image)
        return Root(lower=(str(image),))

    def state(self) -> str:
        self.count += 1
        state = self.directory / f"state-{self.count}"
        state.mkdir(mode=0o700)
        return str(state)

    def create(
        self,
        argv: list[str],
        *,
        id: str = "box",
        root: Root | None = None,
        stdio: Stdio | None = None,
        start: bool = False,
        change: dict | None = None,
        options: dict | None = None,
        **process: object,
    ) -> Process:
        """A container in the hull; with ``start`` it runs."""
        request = CreateRequest(
            id=id,
            bundle=str(self.directory),
            config={**config(argv, **process), **(change or {})},
            root=root or self.root(),
            state=self.state(),
            stdio=stdio or Stdio(mode="null"),
            start=start,
            options=options or {},
        )
        return self._made(request, self.hull.create(request))

    def _made(self, request: CreateRequest | ExecRequest, process: Process) -> Process:
        self.states[process.monitor_pid] = request.state
        return process

    def run(
        self, argv: list[str], *, timeout: float = 60, input: str = "", **more: object
    ) -> subprocess.CompletedProcess:
        """A whole life of a container: its output and exit code."""
        with (
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            given.write(input.encode())
            given.seek(0)
            stdio = Stdio(mode="pass", fds=(given.fileno(), out.fileno(), err.fileno()))
            process = self.create(argv, id=f"run-{self.count}", stdio=stdio, start=True, **more)
            code = self.wait(process, timeout)
            self.log = self.read_log(f"run-{self.count - 1}")
            self.hull.delete(f"run-{self.count - 1}", force=True)
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode("utf-8", "replace"))
        return subprocess.CompletedProcess(argv, code, *texts)

    def read_log(self, id: str) -> str:
        return (self.directory / "hull" / id / "supervisor.log").read_text()

    def wait(self, process: Process, timeout: float = 60) -> int:
        """Until a process's monitor has recorded its exit: the code."""
        import select

        if not select.select([process.monitor_pidfd], [], [], timeout)[0]:
            raise TimeoutError("the process still runs")
        _sys.reap(process.monitor_pidfd, True)
        os.close(process.monitor_pidfd)
        recorded = read_exit(self.states[process.monitor_pid])
        assert recorded is not None
        return recorded.code

    def exec(
        self, argv: list[str], *, id: str = "box", stdio: Stdio | None = None, **process: object
    ) -> Process:
        request = ExecRequest(
            exec_id=f"e{self.count}",
            process=config(argv, **process)["process"],
            state=self.state(),
            stdio=stdio or Stdio(mode="null"),
        )
        return self._made(request, self.hull.exec(id, request))


@contextmanager
def box() -> Iterator[Box]:
    """A box that leaves nothing behind."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    directory = Path(tempfile.mkdtemp(prefix="trimaran-box-", dir=base))
    made = Box(directory)
    try:
        yield made
    finally:
        for name in os.listdir(directory / "hull"):
            made.hull.delete(name, force=True)
        shutil.rmtree(directory)
