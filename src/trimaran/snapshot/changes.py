"""How a container differs from its image: the upper directory of its overlay, read against its layers."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

from trimaran.snapshot.base import Change, Usage
from trimaran.snapshot.copying import DIRECTORY
from trimaran.snapshot.merged import OPAQUE_FILES, WHITEOUT_PREFIX, Merged, is_opaque, is_whiteout


def changes(upper: str, lower: Sequence[str]) -> Iterator[Change]:
    """The changes in order of the paths, which begin with "/". Raises OSError.

    A directory that only holds changes counts as changed itself, as with docker diff.
    """
    with Merged(lower) as below:
        root = os.open(upper, DIRECTORY)
        try:
            yield from sorted(_directory(root, b"", below))
        finally:
            os.close(root)


def _directory(fd: int, path: bytes, below: Merged) -> Iterator[Change]:
    names = set(map(os.fsencode, os.listdir(fd)))
    marks = {name for name in names if name.startswith(WHITEOUT_PREFIX)}
    names -= marks
    if path and (marks.intersection(OPAQUE_FILES) or is_opaque(fd)):
        for name in below.names(path) - names:
            yield Change(b"/" + path + b"/" + name, "deleted")
    for name in marks.difference(OPAQUE_FILES):
        yield Change(os.path.join(b"/" + path, name.removeprefix(WHITEOUT_PREFIX)), "deleted")
    for name in names:
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        inner = path + b"/" + name if path else name
        if is_whiteout(status):
            yield Change(b"/" + inner, "deleted")
            continue
        yield Change(b"/" + inner, "changed" if below.find(inner) else "added")
        if stat.S_ISDIR(status.st_mode):
            child = os.open(name, DIRECTORY, dir_fd=fd)
            try:
                yield from _directory(child, inner, below)
            finally:
                os.close(child)


def compare(lower: str, tree: str) -> Iterator[Change]:
    """The changes between two whole trees, in order of the paths. Raises OSError."""
    before, after = os.open(lower, DIRECTORY), os.open(tree, DIRECTORY)
    try:
        yield from sorted(_compare(before, after, b""))
    finally:
        os.close(before)
        os.close(after)


def _compare(lower: int, tree: int, path: bytes) -> Iterator[Change]:
    before, after = _entries(lower), _entries(tree)
    for name in before.keys() - after.keys():
        yield Change(path + b"/" + name, "deleted")
    for name, status in after.items():
        inner, old = path + b"/" + name, before.get(name)
        within: list[Change] = []
        if stat.S_ISDIR(status.st_mode):
            within = _compare_children(lower if old and stat.S_ISDIR(old.st_mode) else -1, tree, name, inner)
        if old is None:
            yield Change(inner, "added")
        elif within or _looks(old) != _looks(status):
            yield Change(inner, "changed")
        yield from within


def _compare_children(lower: int, tree: int, name: bytes, path: bytes) -> list[Change]:
    child = os.open(name, DIRECTORY, dir_fd=tree)
    below = os.open(name, DIRECTORY, dir_fd=lower) if lower >= 0 else -1
    try:
        return list(_compare(below, child, path))
    finally:
        os.close(child)
        if below >= 0:
            os.close(below)


def _entries(fd: int) -> dict[bytes, os.stat_result]:
    """What a directory holds; nothing for -1."""
    names = os.listdir(fd) if fd >= 0 else []
    return {os.fsencode(name): os.stat(name, dir_fd=fd, follow_symlinks=False) for name in names}


def _looks(status: os.stat_result) -> tuple[int, ...]:
    """What tells that a file has been changed; a directory's own time only says that its entries were."""
    always = status.st_mode, status.st_uid, status.st_gid, status.st_rdev
    return always if stat.S_ISDIR(status.st_mode) else (*always, status.st_size, status.st_mtime_ns)


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
