"""Filling a new volume with what the image has in its place. By descriptor: both trees are hostile."""

from __future__ import annotations

import errno
import os

from trimaran.errors import KernelError
from trimaran.linux import _sys
from trimaran.linux.mounts import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS
from trimaran.snapshot.copying import copy_tree


def copy_up(root: int, path: str, target: int) -> bool:
    """Copy a directory of the tree behind ``root`` into an empty one; whether there was such a directory.

    Links on the way to it are followed inside the tree. Raises KernelError.
    """
    how = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
    try:
        source = _sys.openat2(root, os.fsencode(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, 0, how)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return False
        raise KernelError("openat2", error.errno or 0, path) from error
    try:
        copy_tree(source, target)
    except OSError as error:
        what = f"cannot copy the image's {path} into the volume"
        raise KernelError("copy", error.errno or 0, error.filename or path, message=what) from error
    finally:
        os.close(source)
    return True
