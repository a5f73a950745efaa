"""Attributes of files (stat(2), statx(2), chmod(2), chown(2), utimensat(2), access(2), statfs(2))."""

from __future__ import annotations

import errno as E
import os
import stat as S
import struct

from trimaran.linux import _sys
from trimaran.sandbox.abi.structs import STATFS, STATX, pack_stat
from trimaran.sandbox.kernel.file import O_PATH
from trimaran.sandbox.kernel.names import owner_or
from trimaran.sandbox.kernel.notify_files import tell
from trimaran.sandbox.kernel.outcome import Fail
from trimaran.sandbox.kernel.reading import s64
from trimaran.sandbox.kernel.task import CAP_CHOWN, CAP_FOWNER, CAP_FSETID, Task
from trimaran.sandbox.kernel.vfs.inode import Dentry, Inode, now
from trimaran.sandbox.kernel.vfs.walk import WRITE, existing, permitted

AT_FDCWD, AT_SYMLINK_NOFOLLOW, AT_NO_AUTOMOUNT, AT_EMPTY_PATH, AT_EACCESS = -100, 0x100, 0x800, 0x1000, 0x200
AT_STATX_SYNC_TYPE = 0x6000
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2
STATX_BASIC, STATX_BTIME, STATX_MNT_ID = 0x7FF, 0x800, 0x1000
KEEP = 0xFFFFFFFF
IN_ATTRIB = 4


def blocks_of(inode: Inode) -> int:
    host = getattr(inode, "host", -1)
    if host >= 0 and inode.is_regular:
        return os.fstat(host).st_blocks
    return -(-inode.size // 512) if not inode.is_dir else 8


def encode(inode: Inode) -> bytes:
    """INODE as a ``struct stat``."""
    inode.refresh()
    return pack_stat(
        *(inode.fs.device, inode.ino, inode.mode, inode.nlink, inode.uid, inode.gid, inode.rdev),
        size=inode.size,
        blocks=blocks_of(inode),
        atime=inode.atime,
        mtime=inode.mtime,
        ctime=inode.ctime,
    )


def _at(task: Task, dirfd: int, path: bytes, flags: int) -> Inode:
    """The inode that a call with AT_ flags means; with an empty path that of DIRFD itself."""
    if not path and flags & AT_EMPTY_PATH and dirfd & 0xFFFFFFFF != 0xFFFFFF9C:
        return task.file(dirfd).inode
    follow = not flags & AT_SYMLINK_NOFOLLOW
    return existing(task, dirfd, path, follow=follow, empty=bool(flags & AT_EMPTY_PATH)).inode


def sys_stat(task: Task, path: int, address: int, *_: int) -> int:
    task.process.kernel.put(task, address, encode(existing(task, AT_FDCWD, task.path()).inode))
    return 0


def sys_lstat(task: Task, path: int, address: int, *_: int) -> int:
    task.process.kernel.put(task, address, encode(existing(task, AT_FDCWD, task.path(), follow=False).inode))
    return 0


def sys_fstat(task: Task, fd: int, address: int, *_: int) -> int:
    task.process.kernel.put(task, address, encode(task.file(fd).inode))
    return 0


def sys_newfstatat(task: Task, dirfd: int, path: int, address: int, flags: int, *_: int) -> int:
    flags &= 0xFFFFFFFF
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH):
        raise Fail(E.EINVAL)
    name = b"" if flags & AT_EMPTY_PATH and not path else task.path()
    task.process.kernel.put(task, address, encode(_at(task, dirfd, name, flags)))
    return 0


def sys_statx(task: Task, dirfd: int, path: int, flags: int, mask: int, address: int, *_: int) -> int:
    flags &= 0xFFFFFFFF
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE):
        raise Fail(E.EINVAL)
    if flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE or mask & 0x80000000:
        raise Fail(E.EINVAL)
    name = b"" if flags & AT_EMPTY_PATH and not path else task.path()
    inode = _at(task, dirfd, name, flags)
    inode.refresh()
    times: list[int] = []
    for value in (inode.atime, inode.ctime, inode.ctime, inode.mtime):
        times += divmod(value, 10**9)
    record = STATX.pack(
        *(STATX_BASIC | STATX_BTIME, 4096, 0, inode.nlink, inode.uid, inode.gid, inode.mode, inode.ino),
        *(inode.size, blocks_of(inode), 0, *times),
        *(os.major(inode.rdev), os.minor(inode.rdev), os.major(inode.fs.device), os.minor(inode.fs.device)),
        *(0, 0, 0),
    )
    task.process.kernel.put(task, address, record)
    return 0


def sys_access(task: Task, path: int, mode: int, *_: int) -> int:
    return _access(task, AT_FDCWD, mode, 0)


def sys_faccessat(task: Task, dirfd: int, path: int, mode: int, *_: int) -> int:
    return _access(task, dirfd, mode, 0)


def sys_faccessat2(task: Task, dirfd: int, path: int, mode: int, flags: int, *_: int) -> int:
    if flags & 0xFFFFFFFF & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise Fail(E.EINVAL)
    return _access(task, dirfd, mode, flags)


def _access(task: Task, dirfd: int, mode: int, flags: int) -> int:
    if mode & ~7:
        raise Fail(E.EINVAL)
    cred = task.process.cred
    if not flags & AT_EACCESS:
        cred = cred.copy()
        cred.fsuid, cred.fsgid = cred.uid, cred.gid
        cred.effective = cred.permitted if cred.uid == 0 else 0
    follow = not flags & AT_SYMLINK_NOFOLLOW
    dentry = existing(task, dirfd, task.path(), follow=follow, empty=bool(flags & AT_EMPTY_PATH))
    if mode and not permitted(cred, dentry.inode, mode):
        raise Fail(E.EACCES)
    if mode & WRITE and dentry.mount.read_only and not S.S_ISCHR(dentry.inode.mode):
        raise Fail(E.EROFS)
    return 0


def changeable(dentry: Dentry) -> Inode:
    """The inode, if its file system may be written."""
    if dentry.mount.read_only:
        raise Fail(E.EROFS)
    return dentry.inode


def _of_fd(task: Task, fd: int) -> Inode:
    file = task.file(fd)
    if file.flags & O_PATH:
        raise Fail(E.EBADF)
    if file.dentry is not None:
        return changeable(file.dentry)
    return file.inode


def _set_mode(task: Task, inode: Inode, mode: int) -> int:
    owner_or(task, inode)
    cred = task.process.cred
    if not cred.in_group(inode.gid) and not cred.capable(CAP_FSETID):
        mode &= ~S.S_ISGID
    inode.set_mode(S.S_IFMT(inode.mode) | mode & 0o7777)
    _changed(inode)
    return 0


def _changed(inode: Inode) -> None:
    if inode.watches:
        names = getattr(inode, "names", None)
        if names:
            tell(names[0], IN_ATTRIB, own=True)


def sys_chmod(task: Task, path: int, mode: int, *_: int) -> int:
    return _set_mode(task, changeable(existing(task, AT_FDCWD, task.path())), mode)


def sys_fchmod(task: Task, fd: int, mode: int, *_: int) -> int:
    return _set_mode(task, _of_fd(task, fd), mode)


def sys_fchmodat(task: Task, dirfd: int, path: int, mode: int, *_: int) -> int:
    return _set_mode(task, changeable(existing(task, dirfd, task.path())), mode)


def sys_fchmodat2(task: Task, dirfd: int, path: int, mode: int, flags: int, *_: int) -> int:
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise Fail(E.EINVAL)
    follow = not flags & AT_SYMLINK_NOFOLLOW
    dentry = existing(task, dirfd, task.path(), follow=follow, empty=bool(flags & AT_EMPTY_PATH))
    if dentry.inode.is_link:
        raise Fail(E.EOPNOTSUPP)
    return _set_mode(task, changeable(dentry), mode)


def _set_owner(task: Task, inode: Inode, uid: int, gid: int) -> int:
    cred = task.process.cred
    uid, gid = uid & KEEP, gid & KEEP
    new_uid = inode.uid if uid == KEEP else uid
    new_gid = inode.gid if gid == KEEP else gid
    if not cred.capable(CAP_CHOWN):
        if cred.fsuid != inode.uid or new_uid != inode.uid:
            raise Fail(E.EPERM)
        if new_gid != inode.gid and not cred.in_group(new_gid):
            raise Fail(E.EPERM)
    inode.set_owner(new_uid, new_gid)
    if inode.is_regular and inode.mode & 0o6000 and not (uid == KEEP and gid == KEEP):
        dropped = S.S_ISUID | (S.S_ISGID if inode.mode & 0o010 else 0)
        inode.set_mode(inode.mode & ~dropped)
    _changed(inode)
    return 0


def sys_chown(task: Task, path: int, uid: int, gid: int, *_: int) -> int:
    return _set_owner(task, changeable(existing(task, AT_FDCWD, task.path())), uid, gid)


def sys_lchown(task: Task, path: int, uid: int, gid: int, *_: int) -> int:
    return _set_owner(task, changeable(existing(task, AT_FDCWD, task.path(), follow=False)), uid, gid)


def sys_fchown(task: Task, fd: int, uid: int, gid: int, *_: int) -> int:
    return _set_owner(task, _of_fd(task, fd), uid, gid)


def sys_fchownat(task: Task, dirfd: int, path: int, uid: int, gid: int, flags: int, *_: int) -> int:
    if flags & 0xFFFFFFFF & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise Fail(E.EINVAL)
    name = task.path()
    if not name and flags & AT_EMPTY_PATH:
        return _set_owner(task, task.file(dirfd).inode, uid, gid)
    dentry = existing(task, dirfd, name, follow=not flags & AT_SYMLINK_NOFOLLOW)
    return _set_owner(task, changeable(dentry), uid, gid)


def _times(task: Task, address: int) -> tuple[int | None, int | None, bool]:
    """Access and modification time of a timespec pair (None: leave), and whether both are "now"."""
    if not address:
        return now(), now(), True
    seconds_a, nano_a, seconds_m, nano_m = struct.unpack("=qqqq", _sys.vm_read(task.tid, address, 32))
    values: list[int | None] = []
    for seconds, nano in ((seconds_a, nano_a), (seconds_m, nano_m)):
        if nano == UTIME_NOW:
            values.append(now())
        elif nano == UTIME_OMIT:
            values.append(None)
        elif 0 <= nano < 10**9:
            values.append(seconds * 10**9 + nano)
        else:
            raise Fail(E.EINVAL)
    return values[0], values[1], nano_a == UTIME_NOW and nano_m == UTIME_NOW


def _set_times(task: Task, inode: Inode, atime: int | None, mtime: int | None, current: bool) -> int:
    if atime is None and mtime is None:
        return 0
    cred = task.process.cred
    if cred.fsuid != inode.uid and not cred.capable(CAP_FOWNER):
        if not current:
            raise Fail(E.EPERM)
        if not permitted(cred, inode, WRITE):
            raise Fail(E.EACCES)
    inode.refresh()
    inode.set_times(inode.atime if atime is None else atime, inode.mtime if mtime is None else mtime)
    _changed(inode)
    return 0


def sys_utimensat(task: Task, dirfd: int, path: int, times: int, flags: int, *_: int) -> int:
    if flags & 0xFFFFFFFF & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise Fail(E.EINVAL)
    atime, mtime, current = _times(task, times)
    if not path:
        return _set_times(task, _of_fd(task, dirfd), atime, mtime, current)
    follow, empty = not flags & AT_SYMLINK_NOFOLLOW, bool(flags & AT_EMPTY_PATH)
    dentry = existing(task, dirfd, task.path(), follow=follow, empty=empty)
    return _set_times(task, changeable(dentry), atime, mtime, current)


def _timeval_pair(task: Task, address: int) -> tuple[int, int, bool]:
    if not address:
        return now(), now(), True
    s1, u1, s2, u2 = struct.unpack("=qqqq", _sys.vm_read(task.tid, address, 32))
    if not (0 <= u1 < 10**6 and 0 <= u2 < 10**6):
        raise Fail(E.EINVAL)
    return s1 * 10**9 + u1 * 1000, s2 * 10**9 + u2 * 1000, False


def sys_utimes(task: Task, path: int, times: int, *_: int) -> int:
    return _set_times(task, changeable(existing(task, AT_FDCWD, task.path())), *_timeval_pair(task, times))


def sys_futimesat(task: Task, dirfd: int, path: int, times: int, *_: int) -> int:
    return _set_times(task, changeable(existing(task, dirfd, task.path())), *_timeval_pair(task, times))


def sys_utime(task: Task, path: int, times: int, *_: int) -> int:
    inode = changeable(existing(task, AT_FDCWD, task.path()))
    if not times:
        return _set_times(task, inode, now(), now(), True)
    atime, mtime = struct.unpack("=qq", _sys.vm_read(task.tid, times, 16))
    return _set_times(task, inode, atime * 10**9, mtime * 10**9, False)


def sys_truncate(task: Task, path: int, size: int, *_: int) -> int:
    if s64(size) < 0:
        raise Fail(E.EINVAL)
    dentry = existing(task, AT_FDCWD, task.path())
    if dentry.inode.is_dir:
        raise Fail(E.EISDIR)
    if not permitted(task.process.cred, dentry.inode, WRITE):
        raise Fail(E.EACCES)
    changeable(dentry).truncate(size)
    return 0


def _statfs(task: Task, address: int, dentry: Dentry | None, inode: Inode) -> int:
    fs = inode.fs
    size, blocks, free, available, files, files_free = fs.statfs()
    flags = 0x20 | (1 if dentry is not None and dentry.mount.read_only else 0)
    identity = struct.pack("=Q", fs.device)
    record = STATFS.pack(
        fs.magic, size, blocks, free, available, files, files_free, identity, 255, size, flags
    )
    task.process.kernel.put(task, address, record)
    return 0


def sys_statfs(task: Task, path: int, address: int, *_: int) -> int:
    dentry = existing(task, AT_FDCWD, task.path())
    return _statfs(task, address, dentry, dentry.inode)


def sys_fstatfs(task: Task, fd: int, address: int, *_: int) -> int:
    file = task.file(fd)
    return _statfs(task, address, file.dentry, file.inode)
