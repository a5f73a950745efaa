"""Layers as directories in the form of overlayfs: the ground that the overlay snapshotters stand on."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from trimaran.errors import InvalidInput, KernelError, Unsupported
from trimaran.isolation import Root
from trimaran.linux import _sys, mounts
from trimaran.snapshot import changes
from trimaran.snapshot.base import Change, Draft, LayerFacts, Usage
from trimaran.snapshot.drafts import Shelf, remove
from trimaran.snapshot.register import Layer, Register
from trimaran.snapshot.settle import settle
from trimaran.state import Database

# The kernel's own limit of layers in one overlay (fs/overlayfs, OVL_MAX_STACK).
MAX_LAYERS = 500
EMPTY = "0"
FRESH_SECONDS = 60.0


class DirectorySnapshotter:
    """Keeps layers in ROOT/layers, what containers write in ROOT/containers/ID/{upper,work}.

    See :class:`trimaran.snapshot.base.Snapshotter`.
    """

    name = ""

    def __init__(self, root: str, database: Database) -> None:
        self._containers = os.path.join(root, "containers")
        self._register = Register(database, self.name)
        self._shelf = Shelf(os.path.join(root, "layers"), self._register)
        self._database = database
        os.makedirs(self._containers, mode=0o700, exist_ok=True)

    def prepare_layer(
        self, chain_id: str, parent: str | None, waiting: Callable[[], None] | None = None
    ) -> Draft | None:
        return self._shelf.begin(chain_id, parent, waiting)

    def commit_layer(self, draft: Draft, facts: LayerFacts, *, sync: bool = True) -> None:
        below = self._register.chain(draft.parent) if draft.parent is not None else []
        self._complete(draft.path, below, facts)
        status = os.stat(draft.path)
        layer = Layer(
            draft.chain_id,
            draft.parent,
            draft.name,
            facts.size,
            facts.entries,
            facts.opaque,
            *(stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid),
        )
        self._seal(draft)
        self._shelf.publish(draft, lambda: self._register.add(layer), sync=sync)

    def _complete(self, path: str, below: list[Layer], facts: LayerFacts) -> None:
        """Bring the directory of a draft into the form in which this driver keeps layers."""
        settle(path, self._paths(below), facts)

    def _seal(self, draft: Draft) -> None:
        """The last step before a draft, directory or not, becomes a layer."""

    def abort_layer(self, draft: Draft) -> None:
        self._shelf.abort(draft)

    def layers(self) -> list[str]:
        return [chain_id for chain_id, _ in self._register.layers()]

    def remove_layer(self, chain_id: str) -> int:
        layer = self._register.chain(chain_id)[0]
        self._shelf.take_away(layer.name, lambda: self._register.drop(chain_id))
        return layer.size

    def layer_paths(self, chain_id: str) -> list[str]:
        """The directories of a chain, the uppermost first, down to the first that hides all below it."""
        return self._paths(self._register.chain(chain_id))

    def _paths(self, chain: list[Layer]) -> list[str]:
        return [self._shelf.layer(layer.name) for layer in self._visible(chain)]

    @staticmethod
    def _visible(chain: list[Layer]) -> list[Layer]:
        """The layers down to the first that hides all below it. Raises Unsupported for too many."""
        hiding = next((number for number, layer in enumerate(chain) if layer.opaque), len(chain))
        visible = chain[: hiding + 1]
        if len(visible) > MAX_LAYERS:
            why = f"overlayfs takes {MAX_LAYERS} at most"
            raise Unsupported(f"the image has {len(visible)} layers", why=why)
        return visible

    def prepare(self, container_id: str, chain_id: str | None, *, quota: int = 0) -> Root:
        check_id(container_id)
        with self._database.write():
            chain = self._register.chain(chain_id) if chain_id is not None else []
            project = self._register.new_project() if quota else 0
            self._register.add_container(container_id, chain_id, project)
            self._make_own(container_id, chain)
            if quota:
                self._limit(container_id, project, quota)
        return self._root(container_id, chain)

    def _make_own(self, container_id: str, chain: list[Layer]) -> None:
        """The root directory of a merged tree is that of its upper directory: it looks like the image's."""
        top = chain[0] if chain else None
        own = os.path.join(self._containers, container_id)
        upper = os.path.join(own, "upper")
        _make_directory(own)
        os.mkdir(upper, 0o700)
        os.mkdir(os.path.join(own, "work"), 0o700)
        if top and (top.uid or top.gid):
            os.chown(upper, top.uid, top.gid)
        os.chmod(upper, top.mode if top else 0o755)

    def _limit(self, container_id: str, project: int, size: int) -> None:
        for name in ("upper", "work"):
            path = os.path.join(self._containers, container_id, name)
            if not os.path.isdir(path):
                continue
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _sys.limit_project(fd, project, size)
            except OSError as error:
                self.remove(container_id)
                raise Unsupported(
                    "what a container writes cannot be limited here",
                    why=f"the file system of {path} has no project quota ({os.strerror(error.errno or 0)})",
                    hint="use ext4 or xfs, mounted with prjquota",
                ) from error
            finally:
                os.close(fd)

    def _root(self, container_id: str, chain: list[Layer]) -> Root:
        """What the hull gets: here it mounts the layers itself."""
        return self._layered(container_id, chain)

    def _layered(self, container_id: str, chain: list[Layer]) -> Root:
        own = os.path.join(self._containers, container_id)
        lower = self._paths(chain) or [self.empty_layer()]
        return Root(lower=lower, upper=os.path.join(own, "upper"), work=os.path.join(own, "work"))

    def empty_layer(self) -> str:
        """Overlayfs wants a lower layer, also for a container without an image."""
        path = self._shelf.layer(EMPTY)
        os.makedirs(path, mode=0o755, exist_ok=True)
        return path

    def root(self, container_id: str) -> Root:
        return self._root(container_id, self._chain_of(container_id))

    def _chain_of(self, container_id: str) -> list[Layer]:
        chain_id = self._register.container(container_id)
        return self._register.chain(chain_id) if chain_id is not None else []

    def remove(self, container_id: str) -> None:
        check_id(container_id)
        own = os.path.join(self._containers, container_id)
        for name in ("work", "upper"):
            remove(own, name)
        _remove_empty(own)
        self._register.drop_container(container_id)

    def usage(self, container_id: str) -> Usage:
        upper = self._layered(container_id, self._chain_of(container_id)).upper
        assert upper is not None
        return changes.usage(upper)

    def changes(self, container_id: str) -> Iterable[Change]:
        root = self._layered(container_id, self._chain_of(container_id))
        assert root.upper is not None
        return changes.changes(root.upper, root.lower)

    def open_root(self, container_id: str, *, read_only: bool = False) -> int:
        root = self._layered(container_id, self._chain_of(container_id))
        assert root.upper is not None
        if read_only:
            # As one more lower layer: a second overlay must not clear the work directory of a running one.
            return self._open(self._mount([root.upper, *root.lower]))
        return self._open(self._mount(root.lower, root.upper, root.work))

    def open_chain(self, chain_id: str) -> int:
        return self._open(self._mount(self.layer_paths(chain_id)))

    def mount(self, chain_id: str, target: str) -> None:
        fd = self._mount(self.layer_paths(chain_id))
        try:
            mounts.attach(fd, target)
        finally:
            os.close(fd)

    def unmount(self, target: str) -> None:
        mounts.detach(target)

    def containers(self) -> Iterator[str]:
        return self._register.containers()

    def recover(self) -> None:
        self._shelf.recover()
        # Whoever prepares a root holds the write lock until its row is there: what has none is rubbish.
        with self._database.write():
            known = set(self._register.containers(of_all=True))
            for name in os.listdir(self._containers):
                if name not in known:
                    self._sweep(os.path.join(self._containers, name))

    def _sweep(self, own: str) -> None:
        """Remove what is left of a root; the directory itself too, if the engine has not just made it."""
        fresh = time.time() - os.stat(own).st_mtime < FRESH_SECONDS
        for name in ("work", "upper"):
            remove(own, name)
        if not fresh:
            _remove_empty(own)

    def _mount(self, lower: Sequence[str], upper: str | None = None, work: str | None = None) -> int:
        raise NotImplementedError

    @staticmethod
    def _open(mount: int) -> int:
        try:
            return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount)
        finally:
            os.close(mount)


def check_id(container_id: str) -> None:
    """Raise InvalidInput for what cannot be the name of a directory."""
    if not container_id or "/" in container_id or "\0" in container_id or container_id in (".", ".."):
        raise InvalidInput(f"{container_id!r} cannot be a container's id")


def _make_directory(path: str) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass


def _remove_empty(path: str) -> None:
    """Remove a directory, unless the engine keeps more in it: that it removes itself."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise KernelError("rmdir", error.errno or 0, path) from error
