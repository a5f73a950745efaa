"""What a layer that was unpacked on its own still needs of the layers below it.

Engines that unpack layer upon layer into one tree get this from the tree. Here it is made up for, once the
layers below are known: directories that the layer only passes through look like those they cover, and a
hard link to a file of a lower layer brings that file up, as overlayfs itself does for a new link.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from trimaran.errors import ImageError
from trimaran.linux.mounts import open_beneath
from trimaran.snapshot.base import LayerFacts
from trimaran.snapshot.copying import copy_file, copy_metadata
from trimaran.snapshot.merged import Merged, is_whiteout


def settle(layer: str, lower: Sequence[str], facts: LayerFacts) -> None:
    """Complete the directory of a layer that lies on LOWER, the uppermost first.

    Raises ImageError for a hard link whose target no layer has, OSError.
    """
    if not facts.implicit and not facts.links:
        return
    with Merged([layer, *lower]) as merged:
        for path, target in facts.links:
            _link(merged, path, target)
        for path in facts.implicit:
            _resemble(merged, path)


def _resemble(merged: Merged, path: bytes) -> None:
    """Give the layer's directory the looks of the one that it covers."""
    layers = merged.directories(path)
    if len(layers) < 2 or layers[0] != 0:
        return
    source = target = -1
    try:
        source = open_beneath(merged.fd(layers[1]), path, os.O_RDONLY | os.O_DIRECTORY)
        target = open_beneath(merged.fd(0), path, os.O_RDONLY | os.O_DIRECTORY)
        copy_metadata(source, target)
    finally:
        for fd in (source, target):
            if fd >= 0:
                os.close(fd)


def _link(merged: Merged, path: bytes, target: bytes) -> None:
    here = merged.status(0, path)
    if here is not None and not is_whiteout(here):
        return  # a later member has taken the name
    found = merged.find(target)
    if found is None:
        raise ImageError(
            f"the layer's hard link {os.fsdecode(path)!r} leads nowhere",
            why=f"neither it nor a layer below has {os.fsdecode(target)!r}",
        )
    layer, status = found
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISLNK(status.st_mode):
        raise ImageError(
            f"the layer's hard link {os.fsdecode(path)!r} cannot be made",
            why=f"{os.fsdecode(target)!r} in a layer below is neither a file nor a symbolic link",
        )
    if layer != 0:
        _make_parents(merged, os.path.dirname(target))
        with _times_kept(merged.fd(0), os.path.dirname(target)):
            copy_file(merged.fd(layer), merged.fd(0), target)
    _link_within(merged.fd(0), path, target, replace=here is not None)


def _make_parents(merged: Merged, path: bytes) -> None:
    if merged.status(0, path) is not None:
        return
    _make_parents(merged, os.path.dirname(path))
    parent = open_beneath(merged.fd(0), os.path.dirname(path), os.O_PATH | os.O_DIRECTORY)
    try:
        with _times_kept(parent, b""):
            os.mkdir(os.path.basename(path), 0o755, dir_fd=parent)
    finally:
        os.close(parent)
    merged.forget(path)
    _resemble(merged, path)


@contextmanager
def _times_kept(root: int, path: bytes) -> Iterator[None]:
    """The directory's times come from its layer, and not from what is done in it here."""
    directory = open_beneath(root, path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        status = os.fstat(directory)
        yield
        os.utime(directory, ns=(status.st_atime_ns, status.st_mtime_ns))
    finally:
        os.close(directory)


def _link_within(root: int, path: bytes, target: bytes, replace: bool) -> None:
    source_parent = parent = -1
    try:
        source_parent = open_beneath(root, os.path.dirname(target), os.O_PATH | os.O_DIRECTORY)
        parent = open_beneath(root, os.path.dirname(path), os.O_PATH | os.O_DIRECTORY)
        old, new = os.path.basename(target), os.path.basename(path)
        with _times_kept(parent, b""):
            if replace:
                os.unlink(new, dir_fd=parent)
            os.link(old, new, src_dir_fd=source_parent, dst_dir_fd=parent, follow_symlinks=False)
    finally:
        for fd in (source_parent, parent):
            if fd >= 0:
                os.close(fd)
