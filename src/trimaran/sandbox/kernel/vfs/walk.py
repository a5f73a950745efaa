"""Finding files by name, and whether one may use them (path_resolution(7), openat2(2))."""

from __future__ import annotations

import errno as E

from trimaran.sandbox.kernel.outcome import Fail
from trimaran.sandbox.kernel.task import CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, Credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.sandbox.kernel.task import Task
    from trimaran.sandbox.kernel.vfs.inode import Dentry, Inode

AT_FDCWD = 0xFFFFFF9C
READ, WRITE, EXECUTE = 4, 2, 1
MAX_LINKS = 40
NAME_MAX, PATH_MAX = 255, 4096
RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH, RESOLVE_IN_ROOT = 1, 2, 4, 8, 16


def permitted(cred: Credentials, inode: Inode, want: int) -> bool:
    """Whether CRED may do WANT (bits of READ, WRITE, EXECUTE) with INODE."""
    mode = inode.mode
    if cred.fsuid == inode.uid:
        granted = mode >> 6
    elif cred.in_group(inode.gid):
        granted = mode >> 3
    else:
        granted = mode
    if want & ~granted & 7 == 0:
        return True
    if cred.capable(CAP_DAC_OVERRIDE):
        return not want & EXECUTE or inode.is_dir or bool(mode & 0o111)
    if cred.capable(CAP_DAC_READ_SEARCH):
        return want == READ or (inode.is_dir and not want & WRITE)
    return False


def require(cred: Credentials, inode: Inode, want: int) -> None:
    """Raise Fail(EACCES) unless permitted."""
    if not permitted(cred, inode, want):
        raise Fail(E.EACCES)


class Found:
    """What a path leads to: ``dentry``, or None if the last name does not exist in ``parent``."""

    __slots__ = ("dentry", "name", "parent", "trailing")

    def __init__(self, parent: Dentry, name: bytes, dentry: Dentry | None, trailing: bool) -> None:
        self.parent = parent
        self.name = name
        self.dentry = dentry
        self.trailing = trailing


def start_of(task: Task, dirfd: int, path: bytes) -> Dentry:
    """Where a relative or absolute path begins. Raises Fail (EBADF, ENOTDIR)."""
    fs = task.process.fs
    if path[:1] == b"/":
        return fs.root
    dirfd &= 0xFFFFFFFF
    if dirfd == AT_FDCWD:
        return fs.cwd
    dentry = task.file(dirfd).dentry
    if dentry is None:
        raise Fail(E.ENOTDIR)
    return dentry


def enter(dentry: Dentry) -> Dentry:
    """The top of what is mounted on DENTRY."""
    while dentry.mounted is not None:
        dentry = dentry.mounted
    return dentry


def ascend(dentry: Dentry, root: Dentry) -> Dentry:
    """The parent, not above ROOT, leaving mounts."""
    while dentry is not root and dentry.parent is None and dentry.covers is not None:
        dentry = dentry.covers
    if dentry is root or dentry.parent is None:
        return dentry
    return enter(dentry.parent)


class Walker:
    """One resolution. ``root`` bounds it; ``resolve`` are openat2's bits."""

    __slots__ = ("cred", "links", "resolve", "root", "start", "task")

    def __init__(self, task: Task, root: Dentry, start: Dentry, resolve: int) -> None:
        self.task = task
        self.cred = task.process.cred
        self.root = start if resolve & (RESOLVE_IN_ROOT | RESOLVE_BENEATH) else root
        self.start = start
        self.resolve = resolve
        self.links = 0

    def walk(self, at: Dentry, path: bytes, follow: bool) -> Found:
        """Resolve PATH from AT. A last symbolic link is followed if FOLLOW or if a slash comes after it."""
        if path[:1] == b"/":
            if self.resolve & RESOLVE_BENEATH:
                raise Fail(E.EXDEV)
            at = self.root
        parts = [part for part in path.split(b"/") if part]
        trailing = path.endswith((b"/", b"/."))
        if not parts:
            return Found(at, b"", at, trailing)
        last = len(parts) - 1
        for index, name in enumerate(parts):
            found = self.step(at, name, final=index == last)
            if found is None:
                if index != last:
                    raise Fail(E.ENOENT)
                return Found(at, name, None, trailing)
            if found.inode.is_link and (index != last or follow or trailing):
                through = self.through(found, at, b"/".join(parts[index + 1 :]), follow, trailing)
                if through is not None:
                    return through
            if index == last:
                return Found(at, name, found, trailing)
            at = found
        raise Fail(E.ENOENT)

    def step(self, at: Dentry, name: bytes, final: bool) -> Dentry | None:
        """One component from the directory AT."""
        inode = at.inode
        if inode.mode & 0o170000 != 0o040000:
            raise Fail(E.ENOTDIR)
        if inode.mode & 0o111 != 0o111:
            require(self.cred, inode, EXECUTE)
        if name == b".":
            return at
        if name == b"..":
            return self.up(at)
        if len(name) > NAME_MAX:
            raise Fail(E.ENAMETOOLONG)
        found = at.child(name)
        if found is not None and found.mounted is not None:
            if self.resolve & RESOLVE_NO_XDEV:
                raise Fail(E.EXDEV)
            found = enter(found)
        return found

    def up(self, at: Dentry) -> Dentry:
        if at is self.root and self.resolve & RESOLVE_BENEATH:
            raise Fail(E.EXDEV)
        above = ascend(at, self.root)
        if self.resolve & RESOLVE_NO_XDEV and above.mount is not at.mount:
            raise Fail(E.EXDEV)
        return above

    def through(self, link: Dentry, at: Dentry, rest: bytes, follow: bool, trailing: bool) -> Found | None:
        """Follow LINK, found in AT, and go on with REST."""
        if self.resolve & RESOLVE_NO_SYMLINKS:
            raise Fail(E.ELOOP)
        self.links += 1
        if self.links > MAX_LINKS:
            raise Fail(E.ELOOP)
        jump = link.inode.follow(self.task)
        if jump is not None:
            if self.resolve & (RESOLVE_NO_MAGICLINKS | RESOLVE_BENEATH | RESOLVE_IN_ROOT):
                raise Fail(E.ELOOP if self.resolve & RESOLVE_NO_MAGICLINKS else E.EXDEV)
            if not rest:
                return Found(jump.parent or jump, jump.name, jump, trailing)
            return self.walk(jump, rest + (b"/" if trailing else b""), follow)
        target = link.inode.readlink(self.task)
        if not target:
            raise Fail(E.ENOENT)
        if rest:
            target = target + b"/" + rest
        if trailing and not target.endswith(b"/"):
            target += b"/"
        return self.walk(at, target, follow)


def find(
    task: Task, dirfd: int, path: bytes, *, follow: bool = True, resolve: int = 0, empty: bool = False
) -> Found:
    """What PATH names, seen from DIRFD. Raises Fail (ENOENT, ENOTDIR, EACCES, ELOOP, ENAMETOOLONG...)."""
    if not path:
        if not empty:
            raise Fail(E.ENOENT)
        at = start_of(task, dirfd, path)
        return Found(at.parent or at, at.name, at, False)
    if len(path) >= PATH_MAX:
        raise Fail(E.ENAMETOOLONG)
    at = start_of(task, dirfd, path)
    return Walker(task, task.process.fs.root, at, resolve).walk(at, path, follow)


def existing(task: Task, dirfd: int, path: bytes, *, follow: bool = True, empty: bool = False) -> Dentry:
    """Like :func:`find`, for a file that must be there. A trailing slash asks for a directory."""
    found = find(task, dirfd, path, follow=follow, empty=empty)
    if found.dentry is None:
        raise Fail(E.ENOENT)
    if found.trailing and not found.dentry.inode.is_dir:
        raise Fail(E.ENOTDIR)
    return found.dentry
