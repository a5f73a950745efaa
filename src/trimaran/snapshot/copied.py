"""Plain copies: for file systems and hosts where nothing can be laid over anything.

Each layer's directory holds the whole tree up to it: files that it does not change are shared with the layer
below by hard links, which is safe since nobody writes to a layer. A container gets a copy of its own, by
reflink where the file system can.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Sequence

from trimaran.isolation import Root
from trimaran.linux import _sys, mounts
from trimaran.linux.mounts import OPEN_TREE_CLONE
from trimaran.snapshot import changes
from trimaran.snapshot.base import Change, LayerFacts, Usage
from trimaran.snapshot.copying import DIRECTORY, copy_entry, copy_metadata, copy_tree
from trimaran.snapshot.directories import DirectorySnapshotter
from trimaran.snapshot.merged import OPAQUE, is_opaque, is_whiteout
from trimaran.snapshot.register import Layer


class CopySnapshotter(DirectorySnapshotter):
    """Whole trees (see :class:`trimaran.snapshot.base.Snapshotter`)."""

    name = "copy"

    def _complete(self, path: str, below: list[Layer], facts: LayerFacts) -> None:
        super()._complete(path, below, facts)
        lower = self._shelf.layer(below[0].name) if below and not facts.opaque else self.empty_layer()
        source, target = os.open(lower, DIRECTORY), os.open(path, DIRECTORY)
        try:
            _fill(source, target)
        finally:
            os.close(source)
            os.close(target)

    def _paths(self, chain: list[Layer]) -> list[str]:
        return [self._shelf.layer(chain[0].name)] if chain else []

    def _make_own(self, container_id: str, chain: list[Layer]) -> None:
        own = os.path.join(self._containers, container_id)
        upper = os.path.join(own, "upper")
        os.makedirs(upper, mode=0o700)
        paths = self._paths(chain) or [self.empty_layer()]
        source, target = os.open(paths[0], DIRECTORY), os.open(upper, DIRECTORY)
        try:
            copy_tree(source, target)
        finally:
            os.close(source)
            os.close(target)

    def _root(self, container_id: str, chain: list[Layer]) -> Root:
        return Root(path=os.path.join(self._containers, container_id, "upper"))

    def open_root(self, container_id: str, *, read_only: bool = False) -> int:
        return os.open(self._tree(container_id), DIRECTORY)

    def usage(self, container_id: str) -> Usage:
        return changes.usage(self._tree(container_id))

    def changes(self, container_id: str) -> Iterable[Change]:
        chain_id = self._register.container(container_id)
        lower = self.layer_paths(chain_id)[0] if chain_id is not None else self.empty_layer()
        return changes.compare(lower, self._tree(container_id))

    def _tree(self, container_id: str) -> str:
        path = self.root(container_id).path
        assert path is not None
        return path

    def _mount(self, lower: Sequence[str], upper: str | None = None, work: str | None = None) -> int:
        tree = _sys.open_tree(-1, os.fsencode(lower[0]), OPEN_TREE_CLONE)
        _sys.mount_setattr(tree, mounts.MOUNT_ATTR_RDONLY)
        return tree

    def open_chain(self, chain_id: str) -> int:
        return os.open(self.layer_paths(chain_id)[0], DIRECTORY)


def _fill(source: int, target: int) -> None:
    """Complete a directory of the layer by what the one below has and it does not hide; no whiteouts stay."""
    status = os.fstat(target)
    here = {os.fsencode(n): os.stat(n, dir_fd=target, follow_symlinks=False) for n in os.listdir(target)}
    if not is_opaque(target):
        for name in set(map(os.fsencode, os.listdir(source))) - here.keys():
            _bring(source, target, name)
    for name, found in here.items():
        if is_whiteout(found):
            os.unlink(name, dir_fd=target)
        elif stat.S_ISDIR(found.st_mode):
            _fill_child(source, target, name)
    _forget_opaque(target)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _bring(source: int, target: int, name: bytes) -> None:
    status = os.stat(name, dir_fd=source, follow_symlinks=False)
    if stat.S_ISDIR(status.st_mode):
        os.mkdir(name, 0o700, dir_fd=target)
        below, child = os.open(name, DIRECTORY, dir_fd=source), os.open(name, DIRECTORY, dir_fd=target)
        try:
            _fill(below, child)
            copy_metadata(below, child)
        finally:
            os.close(below)
            os.close(child)
        return
    try:
        os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    except OSError as error:
        # Too many links, or a file system without them.
        if error.errno not in (errno.EMLINK, errno.EPERM, errno.EXDEV):
            raise
        copy_entry(source, name, target, name)


def _fill_child(source: int, target: int, name: bytes) -> None:
    """A directory that the layer has; below it there may be one, or something else, or nothing."""
    child = os.open(name, DIRECTORY, dir_fd=target)
    below = -1
    try:
        try:
            below = os.open(name, DIRECTORY, dir_fd=source)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
        _fill(below if below >= 0 and not is_opaque(child) else child, child)
    finally:
        os.close(child)
        if below >= 0:
            os.close(below)


def _forget_opaque(directory: int) -> None:
    for name in OPAQUE:
        try:
            os.removexattr(directory, name)
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.ENOTSUP, errno.EPERM):
                raise
