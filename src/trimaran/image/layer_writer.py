"""From a directory to the tar stream of a layer: what commit, export and the Docker API's archives need.

Directories are walked by descriptor and no link is followed, so a container that still runs, and swaps files
for links meanwhile, is read wrongly at worst, but never left.
"""

from __future__ import annotations

import errno
import os
import stat

from trimaran.image.tar_writer import Output, TarWriter
from trimaran.snapshot.copying import OVERLAY_ATTRIBUTES
from trimaran.snapshot.merged import OPAQUE_FILES, WHITEOUT_PREFIX, is_opaque, is_whiteout

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def write_layer(upper: int, output: Output) -> None:
    """The changes in an upper directory of overlayfs (a descriptor), as a layer with OCI whiteouts."""
    _Walk(output, whiteouts=True).run(upper)


def write_tree(root: int, output: Output) -> None:
    """A whole tree (a descriptor of its root) as one layer."""
    _Walk(output, whiteouts=False).run(root)


class _Walk:
    def __init__(self, output: Output, whiteouts: bool) -> None:
        self._tar = TarWriter(output)
        self._whiteouts = whiteouts
        self._first: dict[tuple[int, int], bytes] = {}

    def run(self, root: int) -> None:
        fd = os.open(".", _DIRECTORY, dir_fd=root)
        try:
            self._directory(fd, b".", b"")
        finally:
            os.close(fd)
        self._tar.finish()

    def _directory(self, fd: int, path: bytes, prefix: bytes) -> None:
        self._tar.add(path, os.fstat(fd), xattrs=_xattrs(fd))
        names = sorted(map(os.fsencode, os.listdir(fd)))
        if self._whiteouts and (is_opaque(fd) or not set(OPAQUE_FILES).isdisjoint(names)):
            self._tar.add_empty(prefix + OPAQUE_FILES[0])
        for name in names:
            if self._whiteouts and name in OPAQUE_FILES:
                continue
            try:
                self._entry(fd, name, prefix + name)
            except FileNotFoundError:
                continue  # the container has removed it meanwhile

    def _entry(self, parent: int, name: bytes, path: bytes) -> None:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if self._whiteouts and is_whiteout(status):
            hidden = name.removeprefix(WHITEOUT_PREFIX)
            self._tar.add_empty(os.path.join(os.path.dirname(path), WHITEOUT_PREFIX + hidden))
        elif stat.S_ISDIR(status.st_mode):
            fd = os.open(name, _DIRECTORY, dir_fd=parent)
            try:
                self._directory(fd, path, path + b"/")
            finally:
                os.close(fd)
        elif not stat.S_ISSOCK(status.st_mode):  # tar has no sockets
            self._file(parent, name, path, status)

    def _file(self, parent: int, name: bytes, path: bytes, status: os.stat_result) -> None:
        key = status.st_dev, status.st_ino
        first = self._first.setdefault(key, path) if status.st_nlink > 1 else path
        if first != path:
            self._tar.add_link(path, status, first)
        elif stat.S_ISREG(status.st_mode):
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
            try:
                self._tar.add(path, os.fstat(fd), xattrs=_xattrs(fd), content=fd)
            finally:
                os.close(fd)
        else:
            link = os.readlink(name, dir_fd=parent) if stat.S_ISLNK(status.st_mode) else b""
            self._tar.add(path, status, link=link, xattrs=_xattrs_at(parent, name))


def _xattrs(fd: int) -> dict[str, bytes]:
    return {name: os.getxattr(fd, name) for name in _names(fd, follow=True)}


def _xattrs_at(parent: int, name: bytes) -> dict[str, bytes]:
    path = b"/proc/self/fd/%d/%s" % (parent, name)
    return {key: os.getxattr(path, key, follow_symlinks=False) for key in _names(path, follow=False)}


def _names(file: int | bytes, *, follow: bool) -> list[str]:
    """Attributes that are the file's own, and not overlayfs's or the host's security policy's."""
    try:
        names = os.listxattr(file) if follow else os.listxattr(file, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return []
        raise
    return [name for name in names if not name.startswith((*OVERLAY_ATTRIBUTES, "security.selinux"))]
