"""Making tar streams and reading trees, for the tests of layers."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from typing import Any

DAY = 1_500_000_000


def member(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **fields: Any) -> tuple[Any, bytes]:
    """One member and its content; ownership is the caller's so that tests run without root."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(data)
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    info.uid, info.gid, info.mtime = os.geteuid(), os.getegid(), DAY
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def directory(name: str, **fields: Any) -> tuple[Any, bytes]:
    return member(name, tarfile.DIRTYPE, **fields)


def symlink(name: str, target: str) -> tuple[Any, bytes]:
    return member(name, tarfile.SYMTYPE, linkname=target)


def hard_link(name: str, target: str) -> tuple[Any, bytes]:
    return member(name, tarfile.LNKTYPE, linkname=target)


def stream(*members: tuple[Any, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    """The tar stream of these members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def walk(root: str) -> Iterator[str]:
    """Every path below ROOT, relative, and "." itself."""
    yield "."
    for directory_path, directories, files in os.walk(root):
        for name in directories + files:
            yield os.path.relpath(os.path.join(directory_path, name), root)


def describe(path: str) -> tuple[object, ...]:
    """All that a tree comparison looks at for one path, but its links."""
    status = os.lstat(path)
    kind = stat.S_IFMT(status.st_mode)
    content: object = None
    if stat.S_ISREG(kind):
        with open(path, "rb") as file:
            content = file.read()
    elif stat.S_ISLNK(kind):
        content = os.readlink(path)
    elif stat.S_ISCHR(kind) or stat.S_ISBLK(kind):
        content = status.st_rdev
    attributes = {
        name: os.getxattr(path, name, follow_symlinks=False)
        for name in os.listxattr(path, follow_symlinks=False)
    }
    owner = status.st_uid, status.st_gid
    return kind, stat.S_IMODE(status.st_mode), owner, status.st_mtime_ns, content, attributes


def snapshot(root: str) -> dict[str, tuple[object, ...]]:
    """The tree below ROOT, with hard links told by the first name of each inode."""
    first: dict[tuple[int, int], str] = {}
    tree = {}
    for path in sorted(walk(root)):
        full = os.path.join(root, path)
        status = os.lstat(full)
        name = (
            path if stat.S_ISDIR(status.st_mode) else first.setdefault((status.st_dev, status.st_ino), path)
        )
        tree[path] = (*describe(full), name)
    return tree
