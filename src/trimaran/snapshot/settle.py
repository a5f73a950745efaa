"""What a layer that was unpacked on its own still needs of the layers below it.

Engines that unpack layer upon layer into one tree get this from the tree. Here it is made up for, once the
layers below are known. Directories that the layer only passes through look like those they cover. Whiteouts
that hide nothing go, and directories with nothing else in them: overlayfs would list them in a directory
that only one layer has. Hard links to files of lower layers are made (:mod:`trimaran.snapshot.links`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence

from trimaran.linux.mounts import open_beneath
from trimaran.snapshot import links
from trimaran.snapshot.base import LayerFacts
from trimaran.snapshot.copying import times_kept
from trimaran.snapshot.looks import resemble
from trimaran.snapshot.merged import Merged, is_whiteout


def settle(layer: str, lower: Sequence[str], facts: LayerFacts) -> None:
    """Complete the directory of a layer that lies on LOWER, the uppermost first.

    Raises ImageError for a hard link whose target no layer has, OSError.
    """
    if not facts.implicit and not facts.links and not facts.whiteouts:
        return
    with Merged([layer] if facts.opaque else [layer, *lower]) as merged:
        for path in facts.whiteouts:
            _drop_needless(merged, path)
        # Deepest first: a directory may be empty once those below it are gone.
        paths = sorted(facts.implicit, key=lambda path: path.count(b"/") + bool(path), reverse=True)
        kept = [path for path in paths if not _drop_empty(merged, path)]
        if facts.links:
            with Merged(lower) as rest:
                links.make(merged, rest, facts.links)
        for path in kept:
            resemble(merged, path)


def _drop_needless(merged: Merged, path: bytes) -> None:
    """Remove a whiteout of the layer that hides nothing."""
    here = merged.status(0, path)
    if here is None or not is_whiteout(here) or merged.below(path) is not None:
        return
    _remove(merged, path, os.unlink)


def _remove(merged: Merged, path: bytes, call: Callable[..., None]) -> None:
    parent = open_beneath(merged.fd(0), os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        with times_kept(parent):
            call(os.path.basename(path), dir_fd=parent)
    finally:
        os.close(parent)


def _drop_empty(merged: Merged, path: bytes) -> bool:
    """Remove a directory of the layer that holds nothing, and covers none."""
    below = merged.below(path)
    if not path or (below is not None and stat.S_ISDIR(below[1].st_mode)) or merged.list_layer(0, path):
        return False
    _remove(merged, path, os.rmdir)
    merged.forget(path)
    return True
