"""Directories of a layer that none of its members describes: they look like those that they cover."""

from __future__ import annotations

import os
import stat

from trimaran.linux.mounts import open_beneath
from trimaran.snapshot.copying import copy_metadata, times_kept
from trimaran.snapshot.merged import Merged


def resemble(merged: Merged, path: bytes) -> None:
    """Give the layer's directory the looks of the one that it covers, if it covers one."""
    below = merged.below(path)
    target = open_beneath(merged.fd(0), path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if below is None or not stat.S_ISDIR(below[1].st_mode):
            if not path:
                os.utime(target, (0, 0))  # no layer says anything of the root
            return
        source = open_beneath(merged.fd(below[0]), path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            copy_metadata(source, target)
        finally:
            os.close(source)
    finally:
        os.close(target)


def make_parents(merged: Merged, path: bytes) -> None:
    """Make a directory of the layer, and those above it, like those that they cover."""
    if merged.status(0, path) is not None:
        return
    make_parents(merged, os.path.dirname(path))
    parent = open_beneath(merged.fd(0), os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        with times_kept(parent):
            os.mkdir(os.path.basename(path), 0o755, dir_fd=parent)
    finally:
        os.close(parent)
    merged.forget(path)
    resemble(merged, path)
