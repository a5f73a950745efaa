"""A file system made of read-only layers and one writable directory above them (overlayfs without a mount).

Also serves bind volumes (one writable directory, no layers) and tmpfs (a directory of a detached tmpfs).
The supervisor is the only writer, so names and attributes are cached for good.
"""

from __future__ import annotations

import errno as E
import os
import stat as S
import weakref

from trimaran.sandbox.kernel.outcome import Fail
from trimaran.sandbox.kernel.vfs import copyup, opening
from trimaran.sandbox.kernel.vfs.inode import Dentry, FileSystem, Inode, now
from trimaran.sandbox.kernel.vfs.layers import OPAQUE, OWNER, Layer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from trimaran.sandbox.kernel.file import File
    from trimaran.sandbox.kernel.task import Task


def path_of(dentry: Dentry) -> bytes:
    """The path from the root of DENTRY's file system, as the upper directory has it."""
    parts: list[bytes] = []
    while dentry.parent is not None:
        parts.append(dentry.name)
        dentry = dentry.parent
    return b"/".join(reversed(parts))


class LayeredFs(FileSystem):
    """``owners``: the host's files may belong to anybody (root); else owners are kept in attributes."""

    def __init__(
        self,
        lower: Iterable[int],
        upper: int | None,
        *,
        owners: bool,
        kind: bytes = b"overlay",
        magic: int = 0x794C7630,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.magic = magic
        self.owners = owners
        self.upper = Layer(upper, 0, writable=True, owners=not owners) if upper is not None else None
        self.lower = [Layer(fd, index, owners=not owners) for index, fd in enumerate(lower, 1)]
        self.read_only = upper is None
        if owners:
            # Below the lowest layer there is nothing to hide.
            for layer in ([self.upper] if self.upper and self.lower else []) + self.lower[:-1]:
                layer.find_opaque()
        self.linked: weakref.WeakValueDictionary[tuple[int, int, int], LayerInode] = (
            weakref.WeakValueDictionary()
        )
        top = self.upper or self.lower[0]
        found = top.stat(b"")
        if found is None:
            raise FileNotFoundError(E.ENOENT, "a layer is no directory")
        root = LayerInode(self, top, b"", found)
        root.sources = [(layer, b"") for layer in self.lower]
        if self.upper and self.lower:
            # The mount point's own attributes come from the image, not from an empty upper directory.
            base = self.lower[0].stat(b"")
            if base is not None:
                root.mode, root.uid, root.gid = base.st_mode, base.st_uid, base.st_gid
        self.root = root

    def prefixes(self) -> list[bytes]:
        """Where the host has the layers, to recognise mapped files by their names."""
        layers = [self.upper, *self.lower] if self.upper else self.lower
        return [os.readlink(b"/proc/self/fd/%d" % layer.fd) for layer in layers]

    def statfs(self) -> tuple[int, int, int, int, int, int]:
        found = os.statvfs((self.upper or self.lower[0]).fd)
        return found.f_bsize, found.f_blocks, found.f_bfree, found.f_bavail, found.f_files, found.f_ffree

    def inode(self, layer: Layer, path: bytes, found: os.stat_result) -> LayerInode:
        """The inode for a file of a layer; names that are hard links of each other share one."""
        if found.st_nlink > 1 and not S.S_ISDIR(found.st_mode):
            key = (layer.index, found.st_dev, found.st_ino)
            known = self.linked.get(key)
            if known is None:
                known = self.linked[key] = LayerInode(self, layer, path, found)
            return known
        return LayerInode(self, layer, path, found)

    def writable(self) -> Layer:
        if self.upper is None:
            raise Fail(E.EROFS)
        return self.upper


class LayerInode(Inode):
    """A file of a layer. ``path`` is where a lower layer has it; the upper one's follows from ``names``.

    A directory's ``sources`` are the lower directories that it merges. ``host`` is an open descriptor
    while ``users`` have the file open.
    """

    __slots__ = ("host", "layer", "names", "path", "pipe", "sources", "users")
    fs: LayeredFs

    def __init__(self, fs: LayeredFs, layer: Layer, path: bytes, found: os.stat_result) -> None:
        self.fs = fs
        self.layer = layer
        self.path = path
        self.locks = None
        self.watches = None
        self.names: list[Dentry] = []
        self.sources: list[tuple[Layer, bytes]] = []
        self.host = -1
        self.users = 0
        self.pipe: object | None = None
        self.ino = layer.number(found.st_ino)
        self.mode = found.st_mode
        self.uid = found.st_uid if fs.owners else 0
        self.gid = found.st_gid if fs.owners else 0
        self.rdev = found.st_rdev
        if layer.owners and not S.S_ISLNK(self.mode):
            self._owner_from_attribute()
        self.nlink = found.st_nlink
        self._take(found)

    def _owner_from_attribute(self) -> None:
        kept = self.layer.attribute(self.path, OWNER) if self.layer.index or self.path else None
        if kept is not None:
            self.uid, self.gid, self.mode, self.rdev = (int(part) for part in kept.split(b":"))

    def _take(self, found: os.stat_result) -> None:
        self.size = found.st_size
        self.atime = found.st_atime_ns
        self.mtime = found.st_mtime_ns
        self.ctime = found.st_ctime_ns

    def named(self, dentry: Dentry) -> None:
        if dentry not in self.names:
            self.names.append(dentry)

    def upper_path(self) -> bytes:
        return path_of(self.names[0])

    def where(self) -> bytes:
        """The path in ``layer``."""
        return self.upper_path() if self.layer.writable else self.path

    def refresh(self) -> None:
        if not self.layer.writable:
            return
        if self.host >= 0:
            found = os.fstat(self.host)
        elif self.is_dir and self.names:
            found = os.stat(self.upper_path() or b".", dir_fd=self.layer.fd, follow_symlinks=False)
            if not self.sources:
                self.nlink = found.st_nlink
        else:
            return
        self._take(found)

    # Directories: finding.

    def lookup(self, name: bytes) -> Inode | None:
        candidates = list(self.sources)
        if self.layer.writable:
            candidates.insert(0, (self.layer, self.upper_path()))
        return self._merge(name, candidates)

    def _merge(self, name: bytes, candidates: list[tuple[Layer, bytes]]) -> LayerInode | None:
        result: LayerInode | None = None
        for layer, directory in candidates:
            path = directory + b"/" + name if directory else name
            found = layer.stat(path)
            if found is None:
                continue
            if layer.is_whiteout(path, found):
                break
            is_dir = S.S_ISDIR(found.st_mode)
            if result is None:
                result = self.fs.inode(layer, path, found)
                if not is_dir:
                    break
            elif is_dir:
                result.sources.append((layer, path))
            else:
                break
            if not layer.writable and result.layer is layer:
                result.sources = [(layer, path)]
            if len(candidates) > 1 and layer.is_opaque(path):
                break
        return result

    def below(self, name: bytes) -> bool:
        """Whether a lower layer has NAME, so that removing it takes a whiteout."""
        return self._merge(name, self.sources) is not None

    def entries(self) -> Iterable[tuple[bytes, int, int]]:
        merged: dict[bytes, tuple[int, int]] = {}
        sources = list(self.sources)
        if self.layer.writable:
            sources.insert(0, (self.layer, self.upper_path()))
        for layer, path in sources:
            for name, number, kind in layer.scan(path):
                if name not in merged:
                    merged[name] = (number, kind)
        known = self.names[0].children if self.names else {}
        for name, (number, kind) in merged.items():
            if not kind:
                continue
            dentry = known.get(name)
            if dentry is not None:
                number, kind = dentry.inode.ino, S.S_IFMT(dentry.inode.mode)
            yield name, number, kind

    # Content and attributes.

    def readlink(self, task: Task) -> bytes:
        if not self.is_link:
            raise Fail(E.EINVAL)
        return os.readlink(self.where(), dir_fd=self.layer.fd)

    def open(self, task: Task, flags: int, dentry: Dentry) -> File:
        return opening.open_inode(self, task, flags, dentry)

    def acquire(self) -> int:
        """A descriptor of the host for the content, for one more user."""
        self.users += 1
        if self.host < 0:
            flags = os.O_RDWR if self.layer.writable else os.O_RDONLY
            try:
                self.host = self.layer.open(self.where(), flags)
            except BaseException:
                self.users -= 1
                raise
        return self.host

    def disown(self) -> None:
        """One user less."""
        self.users -= 1
        if not self.users and self.host >= 0:
            self.refresh()
            os.close(self.host)
            self.host = -1

    def writable(self) -> LayerInode:
        """Make sure that this file lies in the upper layer. Raises Fail(EROFS)."""
        if not self.layer.writable:
            copyup.copy_up(self)
        return self

    def truncate(self, size: int) -> None:
        self.writable().acquire()
        try:
            os.ftruncate(self.host, size)
        finally:
            self.disown()

    def set_mode(self, mode: int) -> None:
        self.writable()
        self.mode = S.S_IFMT(self.mode) | mode & 0o7777
        self.ctime = now()
        self.keep_owner()

    def set_owner(self, uid: int, gid: int) -> None:
        self.writable()
        self.uid, self.gid = uid, gid
        self.ctime = now()
        self.keep_owner()

    def keep_owner(self) -> None:
        """Write owner and mode to the upper layer."""
        if not self.names:
            return
        path, layer = self.upper_path(), self.layer
        if self.fs.owners:
            os.chown(path or b".", self.uid, self.gid, dir_fd=layer.fd, follow_symlinks=False)
            if not self.is_link:
                os.chmod(path or b".", self.mode & 0o7777, dir_fd=layer.fd)
        elif self.is_dir or self.is_regular or S.S_ISCHR(self.mode) or S.S_ISBLK(self.mode):
            least = 0o700 if self.is_dir else 0o600
            os.chmod(path or b".", self.mode & 0o777 | least, dir_fd=layer.fd)
            kept = b"%d:%d:%d:%d" % (self.uid, self.gid, self.mode, self.rdev)
            layer.set_attribute(path, OWNER, kept)

    def set_times(self, atime: int, mtime: int) -> None:
        self.writable()
        self.atime, self.mtime, self.ctime = atime, mtime, now()
        if self.names:
            path = self.upper_path() or b"."
            os.utime(path, ns=(atime, mtime), dir_fd=self.layer.fd, follow_symlinks=False)
        elif self.host >= 0:
            os.utime(self.host, ns=(atime, mtime))

    def get_attribute(self, name: bytes) -> bytes:
        return copyup.attribute(self, name)

    def set_attribute(self, name: bytes, value: bytes, flags: int) -> None:
        copyup.set_attribute(self.writable(), name, value, flags)

    def list_attributes(self) -> list[bytes]:
        return copyup.attributes(self)

    def remove_attribute(self, name: bytes) -> None:
        copyup.remove_attribute(self.writable(), name)

    # Directories: changing.

    def create(self, task: Task, dentry: Dentry, mode: int, rdev: int = 0) -> Inode:
        layer, path = self._place(dentry)
        kind = S.S_IFMT(mode)
        if kind in (S.S_IFIFO, S.S_IFSOCK):
            os.mknod(path, kind | 0o600, dir_fd=layer.fd)
        else:
            flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(path, flags, 0o600, dir_fd=layer.fd))
        return self._made(task, dentry, mode, rdev)

    def make_directory(self, task: Task, dentry: Dentry, mode: int) -> Inode:
        layer, path = self._place(dentry)
        os.mkdir(path, 0o700, dir_fd=layer.fd)
        if self.sources and self.below(dentry.name):
            layer.set_attribute(path, OPAQUE[0], b"y")
        return self._made(task, dentry, S.S_IFDIR | mode | self.mode & S.S_ISGID)

    def symlink(self, task: Task, dentry: Dentry, target: bytes) -> Inode:
        layer, path = self._place(dentry)
        os.symlink(target, path, dir_fd=layer.fd)
        return self._made(task, dentry, S.S_IFLNK | 0o777)

    def link(self, dentry: Dentry, old: Dentry) -> Inode:
        inode = old.inode
        if not isinstance(inode, LayerInode) or inode.fs is not self.fs:
            raise Fail(E.EXDEV)
        layer, path = self._place(dentry)
        inode.writable()
        if inode.names:
            os.link(inode.upper_path(), path, src_dir_fd=layer.fd, dst_dir_fd=layer.fd, follow_symlinks=False)
        else:
            os.link(b"/proc/self/fd/%d" % inode.host, path, dst_dir_fd=layer.fd, follow_symlinks=True)
        inode.nlink += 1
        inode.ctime = now()
        inode.names.append(dentry)
        found = layer.stat(path)
        if found is not None:
            self.fs.linked[(layer.index, found.st_dev, found.st_ino)] = inode
        if inode.nlink == 1:
            inode.keep_owner()
        return inode

    def _place(self, dentry: Dentry) -> tuple[Layer, bytes]:
        """Where a new entry goes: this directory is made ready, a whiteout in its place removed."""
        layer = self.fs.writable()
        self.writable()
        directory = self.upper_path()
        path = directory + b"/" + dentry.name if directory else dentry.name
        if self.sources:
            found = layer.stat(path)
            if found is not None and layer.is_whiteout(path, found):
                os.unlink(path, dir_fd=layer.fd)
        return layer, path

    def _made(self, task: Task, dentry: Dentry, mode: int, rdev: int = 0) -> LayerInode:
        layer = self.fs.writable()
        path = path_of(self.names[0])
        path = path + b"/" + dentry.name if path else dentry.name
        found = layer.stat(path)
        if found is None:
            raise Fail(E.EIO)
        inode = LayerInode(self.fs, layer, path, found)
        inode.mode, inode.rdev = mode, rdev
        inode.uid = task.process.cred.fsuid
        inode.gid = self.gid if self.mode & S.S_ISGID else task.process.cred.fsgid
        inode.names = [dentry]
        inode.keep_owner()
        return inode

    def temporary(self, task: Task, mode: int) -> Inode:
        layer = self.fs.writable()
        fd = os.open(b".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=layer.fd)
        inode = LayerInode(self.fs, layer, b"", os.fstat(fd))
        inode.host = fd
        inode.mode, inode.uid, inode.gid = mode, task.process.cred.fsuid, task.process.cred.fsgid
        return inode

    def unlink(self, dentry: Dentry) -> None:
        copyup.remove(self, dentry)

    def remove_directory(self, dentry: Dentry) -> None:
        copyup.remove(self, dentry)

    def rename(self, old: Dentry, new: Dentry, exchange: bool) -> None:
        copyup.rename(self, old, new, exchange)
