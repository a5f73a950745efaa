"""Hard links of a layer to files that only the layers below have.

The file is brought up into the layer, as overlayfs itself does for a new link, so that all its names are one
file still. A later member of the layer may have replaced the target, the link, or what leads to it: then the
link has been made of what was there before, or has gone again.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from trimaran.errors import ImageError
from trimaran.linux.mounts import open_beneath
from trimaran.snapshot.copying import copy_file, times_kept
from trimaran.snapshot.looks import make_parents
from trimaran.snapshot.merged import Merged, is_whiteout


def make(merged: Merged, lower: Merged, links: Sequence[tuple[bytes, bytes]]) -> None:
    """Make links (path, target) in the uppermost layer of MERGED to files of LOWER, which is the rest of it.

    Raises ImageError if one leads nowhere.
    """
    raised: dict[bytes, bytes] = {}  # where in the layer the file of a target is
    for path, target in links:
        if not _clear(merged, path):
            continue
        if target not in raised:
            raised[target] = _raise(merged, lower, path, target)
        source = raised[path] = raised[target]
        if source != path:
            _link(merged.fd(0), path, source)


def _clear(merged: Merged, path: bytes) -> bool:
    """Whether the link is still wanted; a whiteout of its name goes."""
    if not _is_reachable(merged, path):
        return False
    make_parents(merged, os.path.dirname(path))
    here = merged.status(0, path)
    if here is None:
        return True
    if not is_whiteout(here):
        return False
    parent = open_beneath(merged.fd(0), os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        with times_kept(parent):
            os.unlink(os.path.basename(path), dir_fd=parent)
    finally:
        os.close(parent)
    return True


def _is_reachable(merged: Merged, path: bytes) -> bool:
    """Whether all that lies above the path in the layer is a directory, or missing."""
    above = os.path.dirname(path)
    while (status := merged.status(0, above)) is None:
        above = os.path.dirname(above)
    return stat.S_ISDIR(status.st_mode)


def _raise(merged: Merged, lower: Merged, path: bytes, target: bytes) -> bytes:
    """Copy the target's file into the layer: to its own place, or if that is taken to that of the link."""
    found = lower.find(target)
    if found is None or stat.S_ISDIR(found[1].st_mode):
        what = "no file" if found is None else "a directory"
        raise ImageError(
            f"the layer's hard link {os.fsdecode(path)!r} leads nowhere",
            why=f"the layers below have {what} at {os.fsdecode(target)!r}",
        )
    free = merged.status(0, target) is None and _is_reachable(merged, target)
    place = target if free else path
    make_parents(merged, os.path.dirname(place))
    copy_file(lower.fd(found[0]), target, merged.fd(0), place)
    return place


def _link(root: int, path: bytes, source: bytes) -> None:
    source_parent = parent = -1
    try:
        source_parent = open_beneath(root, os.path.dirname(source), os.O_PATH | os.O_DIRECTORY)
        parent = open_beneath(root, os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
        old, new = os.path.basename(source), os.path.basename(path)
        with times_kept(parent):
            os.link(old, new, src_dir_fd=source_parent, dst_dir_fd=parent, follow_symlinks=False)
    finally:
        for fd in (source_parent, parent):
            if fd >= 0:
                os.close(fd)
