"""Copying files and directories between layers, by descriptor: content, owner, attributes, mode, times."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from trimaran.linux.mounts import open_beneath

# What an attribute's name begins with if it belongs to overlayfs, and not to the file.
OVERLAY_ATTRIBUTES = ("trusted.overlay.", "user.overlay.")
_CHUNK = 1 << 30
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def copy_metadata(source: int, target: int) -> None:
    """Owner, attributes, mode and times from one open file or directory to another. Raises OSError."""
    status = os.fstat(source)
    _change_owner(target, status)
    copy_attributes(source, target)
    os.chmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _change_owner(target: int, status: os.stat_result) -> None:
    try:
        os.chown(target, status.st_uid, status.st_gid)
    except PermissionError:
        # An ordinary user's layers belong to him altogether.
        if os.geteuid() == 0:
            raise


def copy_attributes(source: int, target: int) -> None:
    """Extended attributes, save those of overlayfs and those that the file system does not take."""
    try:
        names = os.listxattr(source)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return
        raise
    for name in names:
        if name.startswith(OVERLAY_ATTRIBUTES):
            continue
        try:
            os.setxattr(target, name, os.getxattr(source, name))
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EPERM):
                raise


def copy_content(source: int, target: int) -> None:
    """What a regular file holds, keeping its holes. Raises OSError."""
    size = os.fstat(source).st_size
    at = 0
    while at < size:
        try:
            start = os.lseek(source, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break
            raise
        end = os.lseek(source, start, os.SEEK_HOLE)
        _copy_range(source, target, start, end)
        at = end
    os.ftruncate(target, size)


def _copy_range(source: int, target: int, start: int, end: int) -> None:
    while start < end:
        try:
            copied = os.copy_file_range(source, target, min(end - start, _CHUNK), start, start)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            copied = os.pwrite(target, os.pread(source, min(end - start, 1 << 20), start), start)
        if not copied:
            return
        start += copied


@contextmanager
def times_kept(directory: int) -> Iterator[None]:
    """What is done in a directory here leaves its times as they are: those come from its layer."""
    status = os.fstat(directory)
    yield
    os.utime(directory, ns=(status.st_atime_ns, status.st_mtime_ns))


def copy_file(source_root: int, source: bytes, target_root: int, target: bytes) -> None:
    """Copy what is no directory from a path below one directory to a path below another. Raises OSError."""
    source_parent = target_parent = -1
    try:
        source_parent = open_beneath(source_root, os.path.dirname(source), os.O_PATH | os.O_DIRECTORY)
        target_parent = open_beneath(target_root, os.path.dirname(target), os.O_RDONLY | os.O_DIRECTORY)
        with times_kept(target_parent):
            copy_entry(source_parent, os.path.basename(source), target_parent, os.path.basename(target))
    finally:
        for fd in (source_parent, target_parent):
            if fd >= 0:
                os.close(fd)


def copy_entry(source_parent: int, old: bytes, target_parent: int, new: bytes) -> None:
    """Copy one entry that is no directory from one directory to another. Raises OSError."""
    status = os.stat(old, dir_fd=source_parent, follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode):
        _copy_special(source_parent, old, target_parent, new, status)
        return
    source = os.open(old, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source_parent)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        target = os.open(new, flags, 0o600, dir_fd=target_parent)
        try:
            copy_content(source, target)
            copy_metadata(source, target)
        finally:
            os.close(target)
    finally:
        os.close(source)


def _copy_special(
    source_parent: int, old: bytes, target_parent: int, new: bytes, status: os.stat_result
) -> None:
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(old, dir_fd=source_parent), new, dir_fd=target_parent)
    else:
        os.mknod(new, status.st_mode, status.st_rdev, dir_fd=target_parent)
    try:
        os.chown(new, status.st_uid, status.st_gid, dir_fd=target_parent, follow_symlinks=False)
    except PermissionError:
        if os.geteuid() == 0:
            raise
    if not stat.S_ISLNK(status.st_mode):
        fd = os.open(new, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=target_parent)
        try:
            os.chmod(f"/proc/self/fd/{fd}", stat.S_IMODE(status.st_mode))
        finally:
            os.close(fd)
    times = (status.st_atime_ns, status.st_mtime_ns)
    os.utime(new, ns=times, dir_fd=target_parent, follow_symlinks=False)


def copy_tree(source: int, target: int) -> None:
    """Copy all that a directory holds, and its own owner, mode, times and attributes. Raises OSError.

    Names that are one file stay one file. Mounts are copied like directories.
    """
    _copy_directory(source, target, target, b"", {})


def _copy_directory(
    source: int, target: int, root: int, path: bytes, linked: dict[tuple[int, int], bytes]
) -> None:
    for name in map(os.fsencode, os.listdir(source)):
        inner = path + b"/" + name if path else name
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            _copy_child(source, target, root, name, inner, linked)
            continue
        key = status.st_dev, status.st_ino
        first = linked.setdefault(key, inner) if status.st_nlink > 1 else inner
        if first == inner:
            copy_entry(source, name, target, name)
        else:
            link_beneath(root, first, target, name)
    # Last, since what is made in a directory changes its times.
    copy_metadata(source, target)


def _copy_child(
    source: int, target: int, root: int, name: bytes, path: bytes, linked: dict[tuple[int, int], bytes]
) -> None:
    os.mkdir(name, 0o700, dir_fd=target)
    below = [-1, -1]
    try:
        for number, parent in enumerate((source, target)):
            below[number] = os.open(name, DIRECTORY, dir_fd=parent)
        _copy_directory(below[0], below[1], root, path, linked)
    finally:
        for fd in below:
            if fd >= 0:
                os.close(fd)


def link_beneath(root: int, path: bytes, parent: int, name: bytes) -> None:
    """A new name, in the directory PARENT, for the file at a path below ROOT. Raises OSError."""
    above = open_beneath(root, os.path.dirname(path), os.O_PATH | os.O_DIRECTORY)
    try:
        os.link(os.path.basename(path), name, src_dir_fd=above, dst_dir_fd=parent, follow_symlinks=False)
    finally:
        os.close(above)
