"""The mount namespace of a sandbox: what is mounted where (mount_namespaces(7))."""

from __future__ import annotations

import errno as E
import os
import stat as S

from trimaran.sandbox.kernel.file import O_RDWR
from trimaran.sandbox.kernel.outcome import Fail
from trimaran.sandbox.kernel.vfs.inode import Dentry, FileSystem, Inode, Mount
from trimaran.sandbox.kernel.vfs.layered import LayeredFs, LayerInode
from trimaran.sandbox.kernel.vfs.layers import Layer
from trimaran.sandbox.kernel.vfs.opening import RegularFile

TMPFS_MAGIC = 0x01021994


class Namespace:
    """All mounts, in the order in which they were made; the first is the root."""

    def __init__(self, root: FileSystem) -> None:
        self.root = Mount(root, source=b"overlay", read_only=root.read_only)
        self.mounts = [self.root]
        self._memory = _MemoryFs()

    def find(self, path: bytes, *, make: bool = False) -> Dentry:
        """The directory or file at PATH, without following links. Missing directories are made if MAKE."""
        at = self.root.root
        for name in path.split(b"/"):
            if not name:
                continue
            child = at.child(name)
            if child is None:
                if not make:
                    raise FileNotFoundError(E.ENOENT, "no such mount point", os.fsdecode(path))
                child = _make_directory(at, name)
            while child.mounted is not None:
                child = child.mounted
            at = child
        return at

    def find_file(self, path: bytes) -> Dentry:
        """Where a file is to be mounted: an existing file, or an empty one that is made."""
        directory, name = path.rsplit(b"/", 1)
        at = self.find(directory, make=True)
        child = at.child(name)
        if child is not None:
            return child
        inode = at.inode
        if not isinstance(inode, LayerInode):
            raise PermissionError(E.EACCES, "cannot make a mount point", os.fsdecode(path))
        layer = inode.fs.writable()
        inode.writable()
        above = inode.upper_path()
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        os.close(os.open(above + b"/" + name if above else name, flags, 0o644, dir_fd=layer.fd))
        at.children.pop(name, None)
        child = at.child(name)
        assert child is not None
        return child

    def mount(
        self, path: bytes, fs: FileSystem, *, read_only: bool = False, source: bytes = b"none"
    ) -> Mount:
        """Mount FS at PATH, which is made if need be."""
        return self.mount_at(self.find(path, make=True), fs, read_only=read_only, source=source)

    def mount_at(
        self, at: Dentry, fs: FileSystem, *, read_only: bool = False, source: bytes = b"none"
    ) -> Mount:
        mount = Mount(fs, read_only=read_only, source=source)
        mount.root.covers = at
        at.mounted = mount.root
        self.mounts.append(mount)
        return mount

    def memory_inode(self, mode: int) -> Inode:
        """A nameless regular file in memory."""
        inode = self._memory.inode(b"file", mode)
        inode.users = 1
        return inode

    def memory_file(self, name: bytes) -> RegularFile:
        """For memfd_create(2)."""
        inode = self._memory.inode(name, S.S_IFREG | 0o777)
        dentry = Dentry(b"/" + name, None, inode, self.root)
        dentry.deleted = True
        return MemoryFile(O_RDWR, inode, dentry)


class MemoryFile(RegularFile):
    """A memory file: it has a name of its own kind, and seals."""

    __slots__ = ()

    def control(self, task: object, command: int, argument: int) -> int:
        if command == 1034:
            return int(_seals(self.host))
        if command == 1033:
            _seals(self.host, argument)
            return 0
        raise Fail(E.EINVAL)


def _seals(fd: int, add: int | None = None) -> int:
    import fcntl

    if add is None:
        return fcntl.fcntl(fd, 1034)
    return fcntl.fcntl(fd, 1033, add)


class _MemoryFs(LayeredFs):
    """Where nameless memory files live: each is a memory file of the supervisor."""

    def __init__(self) -> None:
        FileSystem.__init__(self)
        self.kind = b"tmpfs"
        self.magic = TMPFS_MAGIC
        self.owners = False
        self.lower = []
        self.layer = Layer(-1, 0, writable=True)
        self.upper = self.layer

    def inode(self, name: bytes, mode: int) -> LayerInode:  # type: ignore[override]
        fd = os.memfd_create(os.fsdecode(name)[:200], os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        inode = _MemoryInode(self, self.layer, b"", os.fstat(fd))
        inode.mode = mode
        inode.host = fd
        return inode


class _MemoryInode(LayerInode):
    """Goes with its last user."""

    __slots__ = ()

    def __del__(self) -> None:
        if self.host >= 0:
            os.close(self.host)


def _make_directory(at: Dentry, name: bytes) -> Dentry:
    inode = at.inode
    if not isinstance(inode, LayerInode):
        raise PermissionError(E.EACCES, "cannot make a mount point", os.fsdecode(at.path()))
    layer = inode.fs.writable()
    inode.writable()
    directory = inode.upper_path()
    os.mkdir(directory + b"/" + name if directory else name, 0o755, dir_fd=layer.fd)
    at.children.pop(name, None)
    child = at.child(name)
    assert child is not None
    return child
