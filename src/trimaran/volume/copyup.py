"""Filling a new volume with what the image has in its place. By descriptor: both trees are hostile."""

from __future__ import annotations

import errno
import os
import stat

from trimaran.errors import KernelError
from trimaran.linux import _sys
from trimaran.linux.mounts import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS
from trimaran.snapshot.copying import copy_entry, copy_metadata

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


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


def copy_tree(source: int, target: int) -> None:
    """Copy all of a directory, and its own owner, mode, times and attributes. Raises OSError."""
    linked: dict[tuple[int, int], tuple[int, bytes]] = {}
    pending = [(os.dup(source), os.dup(target))]
    done: list[tuple[int, int]] = []
    try:
        while pending:
            pair = pending.pop()
            done.append(pair)
            for entry in os.listdir(pair[0]):
                _copy_child(os.fsencode(entry), pair, pending, linked)
        # Deepest first: making entries would change the times again.
        for from_, to in reversed(done):
            copy_metadata(from_, to)
    finally:
        for pair in (*pending, *done):
            for fd in pair:
                os.close(fd)


def _copy_child(
    name: bytes,
    parents: tuple[int, int],
    pending: list[tuple[int, int]],
    linked: dict[tuple[int, int], tuple[int, bytes]],
) -> None:
    status = os.stat(name, dir_fd=parents[0], follow_symlinks=False)
    if stat.S_ISDIR(status.st_mode):
        os.mkdir(name, 0o700, dir_fd=parents[1])
        source = os.open(name, _DIRECTORY, dir_fd=parents[0])
        try:
            pending.append((source, os.open(name, _DIRECTORY, dir_fd=parents[1])))
        except OSError:
            os.close(source)
            raise
        return
    inode = (status.st_dev, status.st_ino)
    first = linked.get(inode)
    if first is not None:
        os.link(first[1], name, src_dir_fd=first[0], dst_dir_fd=parents[1], follow_symlinks=False)
        return
    copy_entry(parents[0], name, parents[1], name)
    if status.st_nlink > 1:
        linked[inode] = (parents[1], name)
