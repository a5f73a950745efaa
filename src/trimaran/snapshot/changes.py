"""How a container differs from its image: the upper directory of its overlay, read against its layers."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

from trimaran.snapshot.base import Change, Usage
from trimaran.snapshot.merged import Merged, is_opaque, is_whiteout


def changes(upper: str, lower: Sequence[str]) -> Iterator[Change]:
    """The changes in order of the paths, which begin with "/". Raises OSError.

    A directory that only holds changes counts as changed itself, as with docker diff.
    """
    with Merged(lower) as below:
        root = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield from sorted(_directory(root, b"", below))
        finally:
            os.close(root)


def _directory(fd: int, path: bytes, below: Merged) -> Iterator[Change]:
    names = sorted(os.fsencode(name) for name in os.listdir(fd))
    if path and is_opaque(fd):
        for name in below.names(path) - set(names):
            yield Change(b"/" + path + b"/" + name, "deleted")
    for name in names:
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        inner = path + b"/" + name if path else name
        if is_whiteout(status):
            yield Change(b"/" + inner, "deleted")
            continue
        yield Change(b"/" + inner, "changed" if below.find(inner) else "added")
        if stat.S_ISDIR(status.st_mode):
            child = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            try:
                yield from _directory(child, inner, below)
            finally:
                os.close(child)


def usage(path: str) -> Usage:
    """Disk space of a tree, each inode counted once. What vanishes meanwhile is not counted."""
    total = inodes = 0
    seen: set[tuple[int, int]] = set()
    for _, directories, files, fd in os.fwalk(path, follow_symlinks=False):
        for status in _statuses(fd, [".", *files, *(d for d in directories)]):
            key = status.st_dev, status.st_ino
            if status.st_nlink > 1 or stat.S_ISDIR(status.st_mode):
                if key in seen:
                    continue
                seen.add(key)
            total += status.st_blocks * 512
            inodes += 1
    return Usage(total, inodes)


def _statuses(fd: int, names: list[str]) -> Iterator[os.stat_result]:
    for name in names:
        try:
            yield os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            continue
