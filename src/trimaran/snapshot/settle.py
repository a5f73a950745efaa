"""What a layer that was unpacked on its own still needs of the layers below it.

Engines that unpack layer upon layer into one tree get this from the tree. Here it is made up for, once the
layers below are known. Directories that the layer only passes through look like those they cover. A hard
link to a file of a lower layer brings that file up, as overlayfs itself does for a new link. Whiteouts that
hide nothing go, and directories with nothing else in them: overlayfs would list them in a directory that
only one layer has.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
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
    if not facts.implicit and not facts.links and not facts.whiteouts:
        return
    with Merged([layer, *lower]) as merged:
        for path, target in facts.links:
            _link(merged, path, target)
        for path in facts.whiteouts:
            _drop_needless(merged, path)
        # Deepest first: a directory may be empty once those below it are gone.
        paths = sorted(facts.implicit, key=lambda path: path.count(b"/") + bool(path), reverse=True)
        kept = [path for path in paths if not _drop_empty(merged, path)]
        unknown = set(facts.implicit)
        for path in reversed(kept):
            _resemble(merged, path, parent_known=os.path.dirname(path) not in unknown)


def _drop_needless(merged: Merged, path: bytes) -> None:
    """Remove a whiteout of the layer that hides nothing."""
    here = merged.status(0, path)
    if here is None or not is_whiteout(here) or merged.below(path) is not None:
        return
    _remove(merged, path, os.unlink)


def _remove(merged: Merged, path: bytes, call: Callable[..., None]) -> None:
    parent = open_beneath(merged.fd(0), os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        with _times_kept(parent, b""):
            call(os.path.basename(path), dir_fd=parent)
    finally:
        os.close(parent)


def _drop_empty(merged: Merged, path: bytes) -> bool:
    """Remove a directory of the layer that holds nothing, and covers none."""
    below = merged.below(path)
    if not path or (below is not None and stat.S_ISDIR(below[1].st_mode)) or merged.list_layer(0, path):
        return False
    _remove(merged, path, os.rmdir)
    return True


def _resemble(merged: Merged, path: bytes, *, parent_known: bool) -> None:
    """Give the layer's directory the looks of the one that it covers, or those of a new one."""
    below = merged.below(path)
    target = open_beneath(merged.fd(0), path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if below is None or not stat.S_ISDIR(below[1].st_mode):
            if not path:
                os.utime(target, (0, 0))  # no layer says anything of the root
            elif not parent_known:
                _inherit(merged, path, target)
            return
        source = open_beneath(merged.fd(below[0]), path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            copy_metadata(source, target)
        finally:
            os.close(source)
    finally:
        os.close(target)


def _inherit(merged: Merged, path: bytes, directory: int) -> None:
    """The set-group-ID bit of the directory above, known only now, is handed down (mkdir(2))."""
    above = merged.status(0, os.path.dirname(path))
    if above is not None and above.st_mode & stat.S_ISGID:
        os.chown(directory, -1, above.st_gid)
        os.chmod(directory, stat.S_IMODE(os.fstat(directory).st_mode) | stat.S_ISGID)


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
    _resemble(merged, path, parent_known=True)


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
