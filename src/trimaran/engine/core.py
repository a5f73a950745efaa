"""What the parts of the engine share: directories, database, hulls, images, snapshots, networks.

Each is opened when it is first used: a command that needs no network does not pay for one.
"""

from __future__ import annotations

import os
import select
import threading

from trimaran.engine.isolations import Isolations
from trimaran.engine.paths import Paths
from trimaran.engine.schema import AREA
from trimaran.engine.store import Containers
from trimaran.linux import _sys
from trimaran.state import Database, owner_identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.image.model import Image
    from trimaran.image.platform import Platform
    from trimaran.image.store import ImageStore
    from trimaran.isolation import Process
    from trimaran.network.manager import NetworkManager
    from trimaran.snapshot import Snapshotter


class Core:
    """One root directory, opened."""

    def __init__(self, root: str | os.PathLike[str] | None) -> None:
        from trimaran.image.store import AREA as IMAGES
        from trimaran.network.schema import AREA as NETWORKS
        from trimaran.snapshot.register import AREA as SNAPSHOTS
        from trimaran.volume.schema import AREA as VOLUMES

        self.paths = Paths(root)
        self.paths.make()
        self.database = Database(self.paths.database, [AREA, IMAGES, SNAPSHOTS, NETWORKS, VOLUMES])
        self.containers = Containers(self.database)
        self.isolations = Isolations(self.paths)
        self.boot = owner_identity().partition(":")[0]
        self._images: ImageStore | None = None
        self._snapshots: Snapshotter | None = None
        self._networks: NetworkManager | None = None
        # Descriptors of the monitors that this process has started, and so has to collect when they end.
        self._monitors: dict[str, int] = {}
        self._lock = threading.Lock()

    @property
    def images(self) -> ImageStore:
        """The images."""
        if self._images is None:
            from trimaran.image.store import ImageStore

            self._images = ImageStore(self.paths.root, self.database)
        return self._images

    @property
    def snapshots(self) -> Snapshotter:
        """The unpacked layers, and the containers' roots."""
        if self._snapshots is None:
            from trimaran.snapshot import snapshotter

            self._snapshots = snapshotter(self.paths.root, self.database)
        return self._snapshots

    @property
    def networks(self) -> NetworkManager:
        """The networks."""
        if self._networks is None:
            from trimaran.network.manager import NetworkManager

            directory = os.path.join(self.paths.run, "network")
            os.makedirs(directory, 0o700, exist_ok=True)
            self._networks = NetworkManager(self.database, directory)
        return self._networks

    def pull(self, reference: str, platform: Platform | None) -> Image:
        """Fetch an image from its registry."""
        from trimaran.image.images import Images

        return Images(self.images, self.snapshots).pull(reference, platform=platform)

    def adopt(self, key: str, process: Process) -> None:
        """Remember the monitor of a process that a hull has made: it is this process's child."""
        if process.monitor_pidfd >= 0:
            with self._lock:
                self._monitors[key] = process.monitor_pidfd

    def await_monitor(self, key: str, timeout: float | None) -> bool:
        """Wait until a monitor that is our child has ended; False after ``timeout`` seconds."""
        with self._lock:
            # Taken out: no other thread closes the descriptor while this one waits on it.
            pidfd = self._monitors.pop(key, None)
        if pidfd is None:
            return True
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        ended = False
        try:
            ended = bool(poll.poll(None if timeout is None else timeout * 1000))
        finally:
            if not (ended and _collected(pidfd)):
                with self._lock:
                    self._monitors[key] = pidfd
        return ended

    def reap(self) -> None:
        """Collect the monitors that have ended."""
        with self._lock:
            for key, pidfd in list(self._monitors.items()):
                if _collected(pidfd):
                    del self._monitors[key]

    def close(self) -> None:
        """Let go of everything; containers and their monitors go on."""
        self.reap()
        for pidfd in self._monitors.values():
            os.close(pidfd)
        self._monitors.clear()
        self.database.close()


def _collected(pidfd: int) -> bool:
    """Whether a child has ended: then it is collected, and the descriptor closed."""
    try:
        if _sys.reap(pidfd) is None:
            return False
    except ChildProcessError:
        pass
    os.close(pidfd)
    return True
