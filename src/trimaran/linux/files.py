"""Memory files and locks: memfd_create(2), fcntl(2) seals, flock(2)."""

from __future__ import annotations

import fcntl
import os

_F_ADD_SEALS = 1033
_ALL_SEALS = 0x0F  # F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE


def sealed(name: str, data: bytes) -> int:
    """A memory file that nobody can change any more; the descriptor reads from its start."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    fcntl.fcntl(fd, _F_ADD_SEALS, _ALL_SEALS)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def sealed_copy(path: str) -> int:
    """A sealed memory copy of a file, executable. Raises OSError."""
    fd = os.memfd_create(os.path.basename(path), os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        left = os.fstat(source).st_size
        while left:
            left -= os.sendfile(fd, source, None, left)
    finally:
        os.close(source)
    fcntl.fcntl(fd, _F_ADD_SEALS, _ALL_SEALS)
    return fd


def lock(fd: int, *, wait: bool = True) -> bool:
    """Take an exclusive flock(2); False if somebody has it and ``wait`` is off."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def write_whole(directory: int, name: str, data: bytes) -> None:
    """Replace a file of a directory in one step: readers see the old or the new one, never a part."""
    temporary = f".{name}.{os.getpid()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600, dir_fd=directory)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
    finally:
        os.close(fd)
    os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)


def read_whole(directory: int, name: str, limit: int = 1 << 26, *, follow: bool = False) -> bytes:
    """A file of a directory, at most ``limit`` bytes. Raises FileNotFoundError, OSError."""
    flags = os.O_RDONLY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    fd = os.open(name, flags, dir_fd=directory)
    try:
        parts = []
        while limit > 0 and (part := os.read(fd, min(limit, 1 << 16))):
            parts.append(part)
            limit -= len(part)
        return b"".join(parts)
    finally:
        os.close(fd)
