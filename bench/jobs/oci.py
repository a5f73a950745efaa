"""OCI runtimes on one bundle: run, exec, state."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bench.context import Bench, Entry, Job, attempt
from bench.jobs.start import floor
from bench.measure import Contestant, Failure, command, quiet
from bench.peers.trimaran import program

DEFAULTS = {
    "trimaran-oci": program("trimaran-oci"),
    "crun": "crun",
    "runc": "runc",
    "youki": "youki",
    "runsc": "runsc",
}
# What a runtime needs to work on hosts like a build machine: runsc's default platform wants /dev/kvm.
OPTIONS = {"runsc": ["--platform=ptrace", "--network=none", "--ignore-cgroups"]}
CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
MASKED = [
    "acpi",
    "asound",
    "kcore",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
]


def configuration(arguments: list[str], rootfs: Path) -> dict[str, object]:
    """A container as engines make it: every namespace, the usual mounts, masked paths and capabilities."""
    options = ["nosuid", "noexec", "nodev"]
    return {
        "ociVersion": "1.0.2",
        "root": {"path": str(rootfs), "readonly": False},
        "hostname": "bench",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": arguments,
            "env": ["PATH=/bin"],
            "cwd": "/",
            "noNewPrivileges": True,
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
            mount("/dev/shm", "tmpfs", [*options, "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", options),
            mount("/sys", "sysfs", [*options, "ro"]),
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
            "maskedPaths": [*(f"/proc/{name}" for name in MASKED), "/sys/firmware"],
            "readonlyPaths": [f"/proc/{name}" for name in ("bus", "fs", "irq", "sys", "sysrq-trigger")],
        },
    }


def mount(target: str, kind: str, options: list[str]) -> dict[str, object]:
    return {"destination": target, "type": kind, "source": kind, "options": options}


class Runtime:
    """One OCI runtime with its state directory and a bundle of its own."""

    def __init__(self, bench: Bench, name: str, path: str) -> None:
        if not shutil.which(path):
            raise Failure("not installed")
        self.name = name
        self.directory = bench.workspace.path / f"oci-{name}"
        self.directory.mkdir(exist_ok=True)
        self.prefix = [path, "--root", str(self.directory / "state"), *OPTIONS.get(name, [])]
        self.rootfs = bench.workspace.rootfs
        self.ids = itertools.count()

    def bundle(self, arguments: list[str]) -> str:
        path = self.directory / f"bundle-{len(arguments)}"
        path.mkdir(exist_ok=True)
        (path / "config.json").write_text(json.dumps(configuration(arguments, self.rootfs)))
        return str(path)

    def run(self, bundle: str) -> float:
        return command([*self.prefix, "run", "--bundle", bundle, f"b{next(self.ids)}"])

    def running(self) -> str:
        """Start a container that sleeps; its id."""
        name = f"idle{next(self.ids)}"
        command([*self.prefix, "create", "--bundle", self.bundle(["/bin/sleep", "100000"]), name])
        quiet([*self.prefix, "start", name])
        return name

    def delete(self, name: str) -> None:
        quiet([*self.prefix, "delete", "--force", name])


def runtimes(bench: Bench, make: Callable[[Runtime], Contestant]) -> Iterator[Entry]:
    for name, path in {**DEFAULTS, **bench.runtimes}.items():
        if name not in bench.runtimes and name not in bench.wanted:
            continue
        yield attempt(name, lambda name=name, path=path: make(Runtime(bench, name, path)))  # type: ignore[misc]


def run(bench: Bench) -> Iterator[Entry]:
    yield attempt("kernel floor", lambda: floor(bench))
    yield from runtimes(bench, lambda r: Contestant(r.name, partial(r.run, r.bundle(["/bin/true"]))))


def execute(bench: Bench) -> Iterator[Entry]:
    def contestant(runtime: Runtime) -> Contestant:
        name = runtime.running()
        arguments = [*runtime.prefix, "exec", name, "/bin/true"]
        return Contestant(runtime.name, partial(command, arguments), partial(runtime.delete, name))

    yield from runtimes(bench, contestant)


def state(bench: Bench) -> Iterator[Entry]:
    def contestant(runtime: Runtime) -> Contestant:
        name = runtime.running()
        return Contestant(
            runtime.name, partial(command, [*runtime.prefix, "state", name]), partial(runtime.delete, name)
        )

    yield from runtimes(bench, contestant)


JOBS = (
    Job("oci-run", "OCI runtime: run a static true in a bundle, and delete it", "ms", run),
    Job("oci-exec", "OCI runtime: exec a static true in a running container", "ms", execute),
    Job("oci-state", "OCI runtime: state of a running container", "ms", state),
)
