"""Names: opening, making, removing and renaming files (open(2), rename(2), link(2), chdir(2))."""

from __future__ import annotations

import errno as E
import os
import stat as S
import struct

from trimaran.linux import _sys
from trimaran.sandbox.kernel.file import O_ACCMODE, O_PATH, O_RDONLY, O_RDWR, O_WRONLY, File
from trimaran.sandbox.kernel.notify_files import tell
from trimaran.sandbox.kernel.outcome import Fail
from trimaran.sandbox.kernel.task import CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_MKNOD, CAP_SYS_CHROOT, Task
from trimaran.sandbox.kernel.vfs.inode import Dentry, Inode
from trimaran.sandbox.kernel.vfs.opening import DirectoryFile
from trimaran.sandbox.kernel.vfs.walk import (
    EXECUTE,
    READ,
    WRITE,
    Found,
    enter,
    existing,
    find,
    permitted,
    require,
)

O_CREAT, O_EXCL, O_NOCTTY, O_TRUNC, O_APPEND = 0x40, 0x80, 0x100, 0x200, 0x400
O_DIRECTORY, O_NOFOLLOW, O_NOATIME, O_CLOEXEC = (0x10000, 0x20000, 0x40000, 0x80000)
if os.uname().machine == "aarch64":
    O_DIRECTORY, O_NOFOLLOW = 0x4000, 0x8000
O_TMPFILE = 0x400000 | O_DIRECTORY
OPEN_HOW_FLAGS = 0x7FFFC3 | O_ACCMODE | 0x3FFC00
AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, AT_EMPTY_PATH = -100, 0x200, 0x400, 0x1000
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
IN_CREATE, IN_DELETE, IN_MOVED_FROM, IN_MOVED_TO, IN_ISDIR = 0x100, 0x200, 0x40, 0x80, 0x40000000
IN_DELETE_SELF, IN_MOVE_SELF, IN_ATTRIB = 0x400, 0x800, 4
WANT = {O_RDONLY: READ, O_WRONLY: WRITE, O_RDWR: READ | WRITE, 3: READ | WRITE}


class PathFile(File):
    """A descriptor opened with O_PATH: it names a file and can do nothing with it."""

    __slots__ = ()

    def describe(self) -> bytes:
        return self.dentry.path() if self.dentry else b""


def sys_open(task: Task, path: int, flags: int, mode: int, *_: int) -> int:
    return open_at(task, AT_FDCWD, task.path(), flags, mode, 0)


def sys_creat(task: Task, path: int, mode: int, *_: int) -> int:
    return open_at(task, AT_FDCWD, task.path(), O_CREAT | O_WRONLY | O_TRUNC, mode, 0)


def sys_openat(task: Task, dirfd: int, path: int, flags: int, mode: int, *_: int) -> int:
    return open_at(task, dirfd, task.path(), flags, mode, 0)


def sys_openat2(task: Task, dirfd: int, path: int, how: int, size: int, *_: int) -> int:
    if size < 24:
        raise Fail(E.EINVAL)
    if size > 4096:
        raise Fail(E.E2BIG)
    data = _sys.vm_read(task.tid, how, size)
    if any(data[24:]):
        raise Fail(E.E2BIG)
    flags, mode, resolve = struct.unpack_from("=QQQ", data)
    if resolve & ~0x3F or flags >> 32 or mode & ~0o7777 or resolve & 0x18 == 0x18:
        raise Fail(E.EINVAL)
    if mode and not flags & (O_CREAT | 0x400000):
        raise Fail(E.EINVAL)
    if resolve & 0x20:
        raise Fail(E.EAGAIN)
    return open_at(task, dirfd, task.path(), flags, mode, resolve)


def open_at(task: Task, dirfd: int, path: bytes, flags: int, mode: int, resolve: int) -> int:
    """openat(2): a new descriptor."""
    if not path:
        raise Fail(E.ENOENT)
    if flags & O_TMPFILE == O_TMPFILE:
        file = _open_temporary(task, dirfd, path, flags, mode)
    else:
        file = _open_named(task, dirfd, path, flags, mode, resolve)
    return task.install(file, cloexec=bool(flags & O_CLOEXEC))


def _open_named(task: Task, dirfd: int, path: bytes, flags: int, mode: int, resolve: int) -> File:
    if flags & O_PATH:
        flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
    follow = not flags & O_NOFOLLOW and flags & (O_CREAT | O_EXCL) != O_CREAT | O_EXCL
    found = find(task, dirfd, path, follow=follow, resolve=resolve)
    dentry = found.dentry
    if dentry is None:
        if not flags & O_CREAT:
            raise Fail(E.ENOENT)
        if found.trailing:
            raise Fail(E.EISDIR)
        if flags & O_DIRECTORY:
            raise Fail(E.EINVAL)
        kind = S.S_IFREG | mode & 0o7777 & ~task.process.fs.umask
        dentry = _make(task, found, lambda parent, new: parent.create(task, new, kind))
        return dentry.inode.open(task, flags & ~O_TRUNC, dentry)
    if flags & O_CREAT and flags & O_EXCL:
        raise Fail(E.EEXIST)
    return open_dentry(task, dentry, flags, found.trailing)


def open_dentry(task: Task, dentry: Dentry, flags: int, trailing: bool = False) -> File:
    """Open an existing file, with the checks of open(2)."""
    inode = dentry.inode
    if inode.is_link:
        if flags & O_PATH and flags & O_NOFOLLOW:
            return PathFile(flags, inode, dentry)
        raise Fail(E.ENOTDIR if flags & O_DIRECTORY else E.ELOOP)
    if (trailing or flags & O_DIRECTORY) and not inode.is_dir:
        raise Fail(E.ENOTDIR)
    if flags & O_PATH:
        return PathFile(flags, inode, dentry)
    want = WANT[flags & O_ACCMODE]
    if flags & O_TRUNC:
        want |= WRITE
    if inode.is_dir:
        if want & WRITE or flags & O_CREAT:
            raise Fail(E.EISDIR)
        require(task.process.cred, inode, want)
        return inode.open(task, flags, dentry)
    require(task.process.cred, inode, want)
    if want & WRITE and dentry.mount.read_only and inode.is_regular:
        raise Fail(E.EROFS)
    if flags & O_NOATIME:
        owner_or(task, inode)
    file = inode.open(task, flags & ~(O_CREAT | O_EXCL | O_NOCTTY | O_CLOEXEC), dentry)
    if flags & O_TRUNC and inode.watches:
        tell(dentry, 2)
    return file


def _open_temporary(task: Task, dirfd: int, path: bytes, flags: int, mode: int) -> File:
    if flags & O_ACCMODE == O_RDONLY:
        raise Fail(E.EINVAL)
    dentry = existing(task, dirfd, path)
    if not dentry.inode.is_dir:
        raise Fail(E.ENOTDIR)
    may_change(task, dentry)
    inode = dentry.inode.temporary(task, S.S_IFREG | mode & 0o7777 & ~task.process.fs.umask)
    inode.nlink = 0
    nameless = Dentry(b"#%d" % inode.ino, dentry, inode, dentry.mount)
    nameless.deleted = True
    names = getattr(inode, "names", None)
    if names is not None:
        names.clear()
    return inode.open(task, flags & ~O_TMPFILE, nameless)


def may_change(task: Task, directory: Dentry) -> None:
    """Raise unless entries of DIRECTORY may be made and removed."""
    if not directory.inode.is_dir:
        raise Fail(E.ENOTDIR)
    if directory.deleted:
        raise Fail(E.ENOENT)
    require(task.process.cred, directory.inode, WRITE | EXECUTE)
    if directory.mount.read_only:
        raise Fail(E.EROFS)


def _make(task: Task, found: Found, maker: object) -> Dentry:
    """Make what FOUND names, which is not there yet."""
    parent = found.parent
    may_change(task, parent)
    new = Dentry.__new__(Dentry)
    new.name, new.parent, new.mount = found.name, parent, parent.mount
    new.children, new.mounted, new.covers, new.deleted = {}, None, None, False
    new.inode = maker(parent.inode, new)  # type: ignore[operator]
    if parent.mount.cached:
        parent.children[found.name] = new
    if parent.inode.watches:
        tell(new, IN_CREATE)
    return new


def _absent(task: Task, dirfd: int, path: bytes, *, directory: bool = False) -> Found:
    found = find(task, dirfd, path, follow=False)
    if found.dentry is not None:
        raise Fail(E.EEXIST)
    if found.trailing and not directory:
        raise Fail(E.ENOENT)
    return found


def make_entry(task: Task, dirfd: int, path: bytes, maker: object) -> Dentry:
    """Make a new entry at PATH with MAKER(directory inode, dentry). Raises Fail(EEXIST) and others."""
    return _make(task, _absent(task, dirfd, path), maker)


def sys_mkdir(task: Task, path: int, mode: int, *_: int) -> int:
    return sys_mkdirat(task, AT_FDCWD, path, mode)


def sys_mkdirat(task: Task, dirfd: int, path: int, mode: int, *_: int) -> int:
    found = _absent(task, dirfd, task.path(), directory=True)
    mode &= 0o1777 & ~task.process.fs.umask
    _make(task, found, lambda parent, new: parent.make_directory(task, new, mode))
    found.parent.inode.nlink += 1
    return 0


def sys_mknod(task: Task, path: int, mode: int, device: int, *_: int) -> int:
    return sys_mknodat(task, AT_FDCWD, path, mode, device)


def sys_mknodat(task: Task, dirfd: int, path: int, mode: int, device: int, *_: int) -> int:
    mode &= 0xFFFF
    kind = S.S_IFMT(mode) or S.S_IFREG
    if kind == S.S_IFDIR:
        raise Fail(E.EPERM)
    if kind not in (S.S_IFREG, S.S_IFCHR, S.S_IFBLK, S.S_IFIFO, S.S_IFSOCK):
        raise Fail(E.EINVAL)
    found = _absent(task, dirfd, task.path())
    if kind in (S.S_IFCHR, S.S_IFBLK) and not task.process.cred.capable(CAP_MKNOD):
        raise Fail(E.EPERM)
    mode = kind | mode & 0o7777 & ~task.process.fs.umask
    _make(task, found, lambda parent, new: parent.create(task, new, mode, device & 0xFFFFFFFF))
    return 0


def sys_symlink(task: Task, target: int, path: int, *_: int) -> int:
    return _symlink(task, task.path(), AT_FDCWD, task.path2())


def sys_symlinkat(task: Task, target: int, dirfd: int, path: int, *_: int) -> int:
    return _symlink(task, task.path(), dirfd, task.path2())


def _symlink(task: Task, target: bytes, dirfd: int, path: bytes) -> int:
    if not target:
        raise Fail(E.ENOENT)
    found = _absent(task, dirfd, path)
    _make(task, found, lambda parent, new: parent.symlink(task, new, target))
    return 0


def sys_link(task: Task, old: int, new: int, *_: int) -> int:
    return _link(task, AT_FDCWD, task.path(), AT_FDCWD, task.path2(), 0)


def sys_linkat(task: Task, olddir: int, old: int, newdir: int, new: int, flags: int, *_: int) -> int:
    return _link(task, olddir, task.path(), newdir, task.path2(), flags)


def _link(task: Task, olddir: int, old: bytes, newdir: int, new: bytes, flags: int) -> int:
    if flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH):
        raise Fail(E.EINVAL)
    if flags & AT_EMPTY_PATH and not old and not task.process.cred.capable(CAP_DAC_READ_SEARCH):
        raise Fail(E.ENOENT)
    source = existing(
        task, olddir, old, follow=bool(flags & AT_SYMLINK_FOLLOW), empty=bool(flags & AT_EMPTY_PATH)
    )
    found = _absent(task, newdir, new)
    if source.inode.is_dir:
        raise Fail(E.EPERM)
    if source.mount is not found.parent.mount:
        raise Fail(E.EXDEV)
    cred, inode = task.process.cred, source.inode
    if cred.fsuid != inode.uid and not cred.capable(CAP_FOWNER):
        # protected_hardlinks (proc_sys_fs(5))
        if not inode.is_regular or not permitted(cred, inode, READ | WRITE) or inode.mode & S.S_ISUID:
            raise Fail(E.EPERM)
    _make(task, found, lambda parent, fresh: parent.link(fresh, source))
    return 0


def sys_readlink(task: Task, path: int, address: int, size: int, *_: int) -> int:
    return _readlink(task, AT_FDCWD, address, size)


def sys_readlinkat(task: Task, dirfd: int, path: int, address: int, size: int, *_: int) -> int:
    return _readlink(task, dirfd, address, size)


def _readlink(task: Task, dirfd: int, address: int, size: int) -> int:
    path = task.path()
    if size & 0xFFFFFFFF == 0 or size & 0x80000000:
        raise Fail(E.EINVAL)
    dentry = existing(task, dirfd, path, follow=False, empty=True)
    if not dentry.inode.is_link:
        raise Fail(E.EINVAL if path else E.ENOENT)
    target = dentry.inode.readlink(task)[:size]
    task.process.kernel.put(task, address, target)
    return len(target)


def owner_or(task: Task, inode: Inode, capability: int = CAP_FOWNER) -> None:
    """Raise Fail(EPERM) unless the caller owns INODE or has CAPABILITY."""
    cred = task.process.cred
    if cred.fsuid != inode.uid and not cred.capable(capability):
        raise Fail(E.EPERM)


def may_remove(task: Task, dentry: Dentry) -> None:
    """The checks of unlink, rmdir and rename for the name that goes away."""
    parent = dentry.parent
    if parent is None:
        raise Fail(E.EBUSY)
    may_change(task, parent)
    cred = task.process.cred
    if parent.inode.mode & S.S_ISVTX and cred.fsuid not in (dentry.inode.uid, parent.inode.uid):
        if not cred.capable(CAP_FOWNER):
            raise Fail(E.EPERM)
    if dentry.mounted is not None:
        raise Fail(E.EBUSY)


def sys_unlink(task: Task, path: int, *_: int) -> int:
    return _unlink(task, AT_FDCWD, task.path())


def sys_rmdir(task: Task, path: int, *_: int) -> int:
    return _rmdir(task, AT_FDCWD, task.path())


def sys_unlinkat(task: Task, dirfd: int, path: int, flags: int, *_: int) -> int:
    if flags & 0xFFFFFFFF & ~AT_REMOVEDIR:
        raise Fail(E.EINVAL)
    return (_rmdir if flags & AT_REMOVEDIR else _unlink)(task, dirfd, task.path())


def _named(task: Task, dirfd: int, path: bytes) -> Dentry:
    """The entry to be removed, with a name of its own."""
    found = find(task, dirfd, path, follow=False)
    if found.dentry is None:
        raise Fail(E.ENOENT)
    if found.trailing and not found.dentry.inode.is_dir:
        raise Fail(E.ENOTDIR)
    return found.dentry


def gone(dentry: Dentry) -> None:
    """Forget a name that no longer exists."""
    parent = dentry.parent
    dentry.deleted = True
    if parent is not None and parent.mount.cached:
        parent.children[dentry.name] = None


def _unlink(task: Task, dirfd: int, path: bytes) -> int:
    dentry = _named(task, dirfd, path)
    if dentry.inode.is_dir:
        if dentry.parent is not None:
            may_remove(task, dentry)
        raise Fail(E.EISDIR)
    may_remove(task, dentry)
    assert dentry.parent is not None
    dentry.parent.inode.unlink(dentry)
    gone(dentry)
    if dentry.parent.inode.watches:
        tell(dentry, IN_DELETE)
    if dentry.inode.watches:
        tell(dentry, IN_ATTRIB if dentry.inode.nlink else IN_DELETE_SELF, own=True)
    return 0


def _rmdir(task: Task, dirfd: int, path: bytes) -> int:
    last = path.rstrip(b"/").rsplit(b"/", 1)[-1]
    if last == b".":
        raise Fail(E.EINVAL)
    dentry = _named(task, dirfd, path)
    if last == b"..":
        raise Fail(E.ENOTEMPTY)
    if dentry is task.process.fs.root or dentry.covers is not None:
        raise Fail(E.EBUSY)
    if not dentry.inode.is_dir:
        raise Fail(E.ENOTDIR)
    may_remove(task, dentry)
    require_empty(dentry)
    assert dentry.parent is not None
    dentry.parent.inode.remove_directory(dentry)
    dentry.parent.inode.nlink -= 1
    gone(dentry)
    if dentry.parent.inode.watches:
        tell(dentry, IN_DELETE | IN_ISDIR)
    if dentry.inode.watches:
        tell(dentry, IN_DELETE_SELF, own=True)
    return 0


def require_empty(dentry: Dentry) -> None:
    for _entry in dentry.inode.entries():
        raise Fail(E.ENOTEMPTY)


def sys_rename(task: Task, old: int, new: int, *_: int) -> int:
    return _rename(task, AT_FDCWD, AT_FDCWD, 0)


def sys_renameat(task: Task, olddir: int, old: int, newdir: int, new: int, *_: int) -> int:
    return _rename(task, olddir, newdir, 0)


def sys_renameat2(task: Task, olddir: int, old: int, newdir: int, new: int, flags: int, *_: int) -> int:
    return _rename(task, olddir, newdir, flags & 0xFFFFFFFF)


def _rename(task: Task, olddir: int, newdir: int, flags: int) -> int:
    if flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE) or flags == RENAME_NOREPLACE | RENAME_EXCHANGE:
        raise Fail(E.EINVAL)
    old_path, new_path = task.path(), task.path2()
    for path in (old_path, new_path):
        if path.rstrip(b"/").rsplit(b"/", 1)[-1] in (b".", b".."):
            raise Fail(E.EBUSY)
    old = find(task, olddir, old_path, follow=False)
    new = find(task, newdir, new_path, follow=False)
    if old.dentry is None:
        raise Fail(E.ENOENT)
    if flags & RENAME_NOREPLACE and new.dentry is not None:
        raise Fail(E.EEXIST)
    if flags & RENAME_EXCHANGE and new.dentry is None:
        raise Fail(E.ENOENT)
    is_dir = old.dentry.inode.is_dir
    if not is_dir and (old.trailing or (new.trailing and new.dentry is None)):
        raise Fail(E.ENOTDIR)
    _may_rename(task, old.dentry, new, bool(flags & RENAME_EXCHANGE))
    if new.dentry is not None and new.dentry.inode is old.dentry.inode:
        return 0
    _move(old.dentry, new, bool(flags & RENAME_EXCHANGE))
    return 0


def _may_rename(task: Task, old: Dentry, new: Found, exchange: bool) -> None:
    if old.parent is None or (new.dentry is not None and new.dentry.parent is None):
        raise Fail(E.EBUSY)
    if old.mount is not new.parent.mount:
        raise Fail(E.EXDEV)
    may_remove(task, old)
    if new.dentry is not None:
        may_remove(task, new.dentry)
    else:
        may_change(task, new.parent)
    _no_loop(old, new.parent)
    if exchange and new.dentry is not None:
        _no_loop(new.dentry, old.parent)
        return
    if new.dentry is None:
        return
    if old.inode.is_dir and not new.dentry.inode.is_dir:
        raise Fail(E.ENOTDIR)
    if not old.inode.is_dir and new.dentry.inode.is_dir:
        raise Fail(E.EISDIR)
    if new.dentry.inode.is_dir and new.dentry.inode is not old.inode:
        if old.parent is not None and _under(old.parent, new.dentry):
            raise Fail(E.ENOTEMPTY)
        require_empty(new.dentry)


def _under(at: Dentry | None, top: Dentry) -> bool:
    while at is not None:
        if at is top:
            return True
        at = at.parent
    return False


def _no_loop(moved: Dentry, into: Dentry | None) -> None:
    if moved.inode.is_dir and _under(into, moved):
        raise Fail(E.EINVAL)


def _move(old: Dentry, new: Found, exchange: bool) -> None:
    source, target = old.parent, new.parent
    assert source is not None
    place = new.dentry
    if place is None:
        place = Dentry.__new__(Dentry)
        place.name, place.parent, place.mount, place.inode = new.name, target, target.mount, old.inode
        place.children, place.mounted, place.covers, place.deleted = {}, None, None, True
    source.inode.rename(old, place, exchange)
    old_name = old.name
    if exchange:
        place.name, place.parent = old_name, source
        source.children[old_name] = place
    else:
        source.children[old_name] = None
        if new.dentry is not None:
            place.deleted = True
    old.name, old.parent = new.name, target
    target.children[new.name] = old
    directory = IN_ISDIR if old.inode.is_dir else 0
    if source.inode.watches or target.inode.watches:
        tell_move(source, old_name, target, new.name, directory)
    if old.inode.watches:
        tell(old, IN_MOVE_SELF, own=True)
    if new.dentry is not None and not exchange and place.inode.watches:
        tell(place, IN_DELETE_SELF, own=True)


def tell_move(source: Dentry, old: bytes, target: Dentry, new: bytes, directory: int) -> None:
    from trimaran.sandbox.kernel.notify_files import next_cookie, tell_directory

    cookie = next_cookie()
    tell_directory(source, old, IN_MOVED_FROM | directory, cookie)
    tell_directory(target, new, IN_MOVED_TO | directory, cookie)


def sys_chdir(task: Task, path: int, *_: int) -> int:
    return _chdir(task, existing(task, AT_FDCWD, task.path()))


def sys_fchdir(task: Task, fd: int, *_: int) -> int:
    dentry = task.file(fd).dentry
    if dentry is None:
        raise Fail(E.ENOTDIR)
    return _chdir(task, dentry)


def _chdir(task: Task, dentry: Dentry) -> int:
    if not dentry.inode.is_dir:
        raise Fail(E.ENOTDIR)
    require(task.process.cred, dentry.inode, EXECUTE)
    task.process.fs.cwd = enter(dentry)
    return 0


def sys_chroot(task: Task, path: int, *_: int) -> int:
    dentry = existing(task, AT_FDCWD, task.path())
    if not dentry.inode.is_dir:
        raise Fail(E.ENOTDIR)
    if not task.process.cred.capable(CAP_SYS_CHROOT):
        raise Fail(E.EPERM)
    task.process.fs.root = enter(dentry)
    return 0


def sys_getcwd(task: Task, address: int, size: int, *_: int) -> int:
    fs = task.process.fs
    if fs.cwd.deleted:
        raise Fail(E.ENOENT)
    path = fs.cwd.path(fs.root) + b"\0"
    if len(path) > size:
        raise Fail(E.ERANGE)
    task.process.kernel.put(task, address, path)
    return len(path)


__all__ = ["DirectoryFile", "open_dentry"]
