"""Changes to a layered file system: copying up, whiteouts, renames, attributes."""

from __future__ import annotations

import errno as E
import os
import stat as S

from trimaran.sandbox.kernel.outcome import Fail
from trimaran.sandbox.kernel.vfs.inode import Dentry, now
from trimaran.sandbox.kernel.vfs.layers import OPAQUE, Layer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.sandbox.kernel.vfs.layered import LayerInode

KEPT = b"user.trimaran.x."
"""Prefix of attributes that the supervisor may not set itself (security.*, trusted.*, system.*)."""


def copy_up(inode: LayerInode) -> None:
    """Bring a lower file, and the directories above it, to the upper layer."""
    upper = inode.fs.writable()
    if not inode.names:
        raise Fail(E.ESTALE)
    dentry = inode.names[-1]
    directory = b""
    if dentry.parent is not None:
        parent: LayerInode = dentry.parent.inode  # type: ignore[assignment]
        directory = parent.writable().upper_path()
    path = directory + b"/" + dentry.name if directory else dentry.name
    times = inode.atime, inode.mtime
    _copy_content(inode, upper, path)
    if inode.nlink > 1 and not inode.is_dir:
        _separate(inode, dentry)
    inode.layer = upper
    inode.names = [dentry]
    inode.keep_owner()
    os.utime(path or b".", ns=times, dir_fd=upper.fd, follow_symlinks=False)


def _separate(inode: LayerInode, kept: Dentry) -> None:
    """Other hard links stay below, as in overlayfs: forget what was cached for them."""
    found = inode.layer.stat(inode.path)
    if found is not None:
        inode.fs.linked.pop((inode.layer.index, found.st_dev, found.st_ino), None)
    for name in inode.names:
        if name is not kept and name.parent is not None:
            name.parent.children.pop(name.name, None)
    inode.nlink = 1


def _copy_content(inode: LayerInode, upper: Layer, path: bytes) -> None:
    lower = inode.layer
    if inode.is_dir:
        if path:
            os.mkdir(path, 0o700, dir_fd=upper.fd)
    elif inode.is_link:
        os.symlink(os.readlink(inode.path, dir_fd=lower.fd), path, dir_fd=upper.fd)
    elif inode.is_regular:
        _copy_regular(inode, upper, path)
    elif S.S_ISFIFO(inode.mode) or S.S_ISSOCK(inode.mode):
        os.mknod(path, S.S_IFMT(inode.mode) | 0o600, dir_fd=upper.fd)
    else:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=upper.fd))


def _copy_regular(inode: LayerInode, upper: Layer, path: bytes) -> None:
    source = inode.layer.open(inode.path, os.O_RDONLY)
    try:
        target = os.open(
            path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=upper.fd
        )
        left = os.fstat(source).st_size
        while left > 0:
            moved = os.sendfile(target, source, None, min(left, 1 << 24))
            if not moved:
                break
            left -= moved
        for name in os.listxattr(source):
            if not name.startswith(("user.overlay.", "trusted.overlay.", "user.trimaran.owner")):
                _store(target, os.fsencode(name), os.getxattr(source, name), 0)
    finally:
        os.close(source)
    if inode.users:
        os.dup2(target, inode.host, inheritable=False)
    os.close(target)


def _store(fd: int, name: bytes, value: bytes, flags: int) -> None:
    """Set an attribute; what only the host's root may set is kept under another name."""
    if not name.startswith(b"user."):
        name = KEPT + name
    os.setxattr(fd, name, value, flags)


def whiteout(upper: Layer, path: bytes) -> None:
    os.mknod(path, S.S_IFCHR, 0, dir_fd=upper.fd)


def _clear(upper: Layer, path: bytes) -> None:
    """Empty an upper directory that holds nothing but whiteouts."""
    for name, _number, _kind in upper.scan(path):
        os.unlink(path + b"/" + name, dir_fd=upper.fd)


def remove(parent: LayerInode, dentry: Dentry) -> None:
    """Take DENTRY out of PARENT; a directory is known to be empty."""
    upper = parent.fs.writable()
    inode: LayerInode = dentry.inode  # type: ignore[assignment]
    parent.writable()
    directory = parent.upper_path()
    path = directory + b"/" + dentry.name if directory else dentry.name
    if inode.layer.writable:
        if inode.is_dir:
            _clear(upper, path)
            os.rmdir(path, dir_fd=upper.fd)
        else:
            os.unlink(path, dir_fd=upper.fd)
        if dentry in inode.names:
            inode.names.remove(dentry)
    inode.nlink = 0 if inode.is_dir else inode.nlink - 1
    inode.ctime = now()
    if parent.sources and parent.below(dentry.name):
        whiteout(upper, path)


def rename(parent: LayerInode, old: Dentry, new: Dentry, exchange: bool) -> None:
    """rename(2) within one file system; NEW's inode is what is there now, or OLD's own if nothing is."""
    upper = parent.fs.writable()
    inode: LayerInode = old.inode  # type: ignore[assignment]
    target: LayerInode | None = new.inode if new.inode is not inode else None  # type: ignore[assignment]
    assert new.parent is not None
    destination: LayerInode = new.parent.inode  # type: ignore[assignment]
    for each in (inode, target if exchange else None):
        if each is not None and each.is_dir and each.sources:
            raise Fail(E.EXDEV)
    for each in (inode, parent, destination, target if exchange else None):
        if each is not None:
            each.writable()
    source_path, target_path = _join(parent, old.name), _join(destination, new.name)
    if exchange:
        _swap(upper, source_path, target_path)
        return
    hidden = bool(parent.sources) and parent.below(old.name)
    covered = bool(destination.sources) and destination.below(new.name)
    found = upper.stat(target_path)
    if found is not None and S.S_ISDIR(found.st_mode):
        _clear(upper, target_path)
    elif found is not None and inode.is_dir:
        os.unlink(target_path, dir_fd=upper.fd)
    os.rename(source_path, target_path, src_dir_fd=upper.fd, dst_dir_fd=upper.fd)
    if inode.is_dir and covered:
        upper.set_attribute(target_path, OPAQUE[0], b"y")
    if target is not None:
        target.nlink = 0 if target.is_dir else target.nlink - 1
        target.names = [name for name in target.names if name is not new]
    if hidden:
        whiteout(upper, source_path)
    inode.ctime = now()


def _join(directory: LayerInode, name: bytes) -> bytes:
    path = directory.upper_path()
    return path + b"/" + name if path else name


def _swap(upper: Layer, one: bytes, two: bytes) -> None:
    middle = one + b".trimaran-swap"
    for source, target in ((one, middle), (two, one), (middle, two)):
        os.rename(source, target, src_dir_fd=upper.fd, dst_dir_fd=upper.fd)


def _descriptor(inode: LayerInode) -> int:
    if inode.is_link or S.S_ISFIFO(inode.mode) or S.S_ISSOCK(inode.mode):
        raise Fail(E.EPERM)
    if inode.host >= 0:
        return os.dup(inode.host)
    return inode.layer.open(inode.where(), os.O_RDONLY | os.O_NONBLOCK)


def attribute(inode: LayerInode, name: bytes) -> bytes:
    if inode.is_link:
        raise Fail(E.ENODATA)
    fd = _descriptor(inode)
    try:
        if name.startswith(b"user."):
            return os.getxattr(fd, name)
        try:
            return os.getxattr(fd, KEPT + name)
        except OSError as error:
            if error.errno != E.ENODATA or name.startswith(b"trusted.") or inode.layer.writable:
                raise
            return os.getxattr(fd, name)
    finally:
        os.close(fd)


def set_attribute(inode: LayerInode, name: bytes, value: bytes, flags: int) -> None:
    fd = _descriptor(inode)
    try:
        _store(fd, name, value, flags)
    finally:
        os.close(fd)


def attributes(inode: LayerInode) -> list[bytes]:
    if inode.is_link or S.S_ISFIFO(inode.mode) or S.S_ISSOCK(inode.mode):
        return []
    fd = _descriptor(inode)
    try:
        names = [os.fsencode(name) for name in os.listxattr(fd)]
    finally:
        os.close(fd)
    hidden = (b"user.overlay.", b"trusted.", b"user.trimaran.owner")
    return [name.removeprefix(KEPT) for name in names if not name.startswith(hidden)]


def remove_attribute(inode: LayerInode, name: bytes) -> None:
    fd = _descriptor(inode)
    try:
        os.removexattr(fd, name if name.startswith(b"user.") else KEPT + name)
    finally:
        os.close(fd)
