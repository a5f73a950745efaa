"""fuse-overlayfs (https://github.com/containers/fuse-overlayfs): where the kernel's overlay is not to be had.

A container's tree is mounted by a process of its own at ROOT/containers/ID/merged, from when it is first
asked for until the container is removed; after a restart of the host it is mounted again. An ordinary user
mounts by the help of fusermount3.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence

from trimaran.errors import TrimaranError, Unsupported
from trimaran.isolation import Root
from trimaran.linux import mounts
from trimaran.snapshot.copying import DIRECTORY
from trimaran.snapshot.directories import DirectorySnapshotter, check_id
from trimaran.snapshot.drafts import remove
from trimaran.snapshot.register import Layer
from trimaran.state import Database

PROGRAM = "fuse-overlayfs"


class FuseOverlaySnapshotter(DirectorySnapshotter):
    """Overlay by a process (see :class:`trimaran.snapshot.base.Snapshotter`)."""

    name = "fuse-overlayfs"

    def __init__(self, root: str, database: Database) -> None:
        if not shutil.which(PROGRAM):
            raise Unsupported(f"{PROGRAM} is not installed", hint=f"install the package {PROGRAM}")
        super().__init__(root, database)

    def _root(self, container_id: str, chain: list[Layer]) -> Root:
        layered = self._layered(container_id, chain)
        target = self._merged(container_id)
        if not os.path.ismount(target):
            os.makedirs(target, mode=0o700, exist_ok=True)
            _start(layered.lower, layered.upper, layered.work, target)
        return Root(path=target)

    def _merged(self, container_id: str) -> str:
        return os.path.join(self._containers, container_id, "merged")

    def open_root(self, container_id: str, *, read_only: bool = False) -> int:
        path = self.root(container_id).path
        assert path is not None
        return os.open(path, DIRECTORY)

    def open_chain(self, chain_id: str) -> int:
        """The process behind the tree ends when the descriptor is closed."""
        target = tempfile.mkdtemp(prefix="chain-", dir=self._containers)
        try:
            _start(self.layer_paths(chain_id), None, None, target)
            try:
                return os.open(target, DIRECTORY)
            finally:
                _stop(target)
        finally:
            os.rmdir(target)

    def mount(self, chain_id: str, target: str) -> None:
        _start(self.layer_paths(chain_id), None, None, target)

    def unmount(self, target: str) -> None:
        _stop(target)

    def remove(self, container_id: str) -> None:
        check_id(container_id)
        self._take_down(os.path.dirname(self._merged(container_id)))
        super().remove(container_id)

    def _sweep(self, own: str) -> None:
        if os.path.basename(own).startswith("chain-"):
            _stop(own)
            os.rmdir(own)
            return
        self._take_down(own)
        super()._sweep(own)

    @staticmethod
    def _take_down(own: str) -> None:
        target = os.path.join(own, "merged")
        _stop(target)
        remove(own, "merged")


def _start(lower: Sequence[str], upper: str | None, work: str | None, target: str) -> None:
    """Mount, and return once it is there; the process goes on in the background."""
    options = [f"lowerdir={':'.join(lower)}"]
    options += [f"upperdir={upper}", f"workdir={work}"] if upper and work else ["ro"]
    command = [PROGRAM, "-o", ",".join(options), target]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        why = (done.stderr.strip() or f"it ended with {done.returncode}").splitlines()[-1]
        raise TrimaranError(f"{PROGRAM} cannot mount {target}", why=why, hint="is /dev/fuse there?")


def _stop(target: str) -> None:
    """Take the mount away, if there is one; whoever has it open can go on."""
    while os.path.ismount(target):
        if os.geteuid() == 0:
            mounts.detach(target)
        else:
            subprocess.run(["fusermount3", "-u", "-z", "--", target], check=True, capture_output=True)
