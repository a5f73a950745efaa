"""trimaran-oci on a state root and bundle of its own, for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from tests.support.bundles import usual_config, write_bundle

COMMAND = Path(sys.executable).parent / "trimaran-oci"


class Runtime:
    """Calls the command; containers are named after the directory, so that what they leave can be found."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "state"
        self.bundle = directory / "bundle"
        self.rootfs = self.bundle / "rootfs"

    def __call__(self, *words: object, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run it; output goes to files, since a container that stays would hold a pipe open."""
        command = [str(COMMAND), "--root", str(self.root), *map(str, words)]
        options.setdefault("stdin", subprocess.DEVNULL)
        with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
            result = subprocess.run(command, stdout=out, stderr=err, cwd=self.bundle, timeout=60, **options)
            for file in (out, err):
                file.seek(0)
            result.stdout, result.stderr = out.read(), err.read()
        return result

    def configure(self, *args: str, **process: Any) -> dict[str, Any]:
        config = usual_config(*args, **process)
        write_bundle(self.bundle, config)
        return config

    def write(self, config: dict[str, Any]) -> None:
        write_bundle(self.bundle, config)

    def state(self, id: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("state", id).stdout)
        return found


def traces(directory: Path) -> tuple[list[str], list[str]]:
    """What a container could leave on the host: cgroups of containers named ``threat-...``, and mounts."""
    # os.walk does not mind cgroups of others that go away meanwhile.
    found = (f"{at}/{name}" for at, names, _ in os.walk("/sys/fs/cgroup") for name in names)
    cgroups = sorted(path for path in found if "threat-" in path)
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return cgroups, [line for line in mounts if str(directory) in line]


@contextmanager
def runtime_in(directory: Path) -> Iterator[Runtime]:
    """A runtime that is left without containers, cgroups and mounts."""
    runtime = Runtime(directory)
    runtime.bundle.mkdir(parents=True)
    yield runtime
    for id in os.listdir(runtime.root) if runtime.root.exists() else []:
        runtime("delete", "--force", id)
    assert traces(directory) == ([], [])
