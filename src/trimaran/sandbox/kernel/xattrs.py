"""Extended attributes (xattr(7))."""

from __future__ import annotations

import errno as E

from trimaran.linux import _sys
from trimaran.sandbox.kernel.attributes import changeable
from trimaran.sandbox.kernel.names import owner_or
from trimaran.sandbox.kernel.outcome import Fail
from trimaran.sandbox.kernel.task import Task
from trimaran.sandbox.kernel.vfs.inode import Inode
from trimaran.sandbox.kernel.vfs.walk import READ, WRITE, existing, require

CAP_SYS_ADMIN = 21
VALUE_LIMIT = 65536
HIDDEN = (b"user.trimaran.", b"user.overlay.", b"trusted.overlay.")


def _check(task: Task, inode: Inode, name: bytes, want: int) -> None:
    if not name or len(name) > 255:
        raise Fail(E.ERANGE)
    if name.startswith(HIDDEN):
        raise Fail(E.EPERM if want & WRITE else E.ENODATA)
    if name.startswith(b"user."):
        if not (inode.is_regular or inode.is_dir):
            raise Fail(E.EPERM if want & WRITE else E.ENODATA)
        require(task.process.cred, inode, want)
    elif name.startswith(b"trusted."):
        if not task.process.cred.capable(CAP_SYS_ADMIN):
            raise Fail(E.EPERM if want & WRITE else E.ENODATA)
    elif name.startswith(b"security."):
        if want & WRITE and not task.process.cred.capable(CAP_SYS_ADMIN):
            owner_or(task, inode, 31)
    elif name in (b"system.posix_acl_access", b"system.posix_acl_default") or "." not in name.decode(
        "latin-1"
    ):
        raise Fail(E.EOPNOTSUPP)
    else:
        raise Fail(E.EOPNOTSUPP)


def _set(task: Task, inode: Inode, name: bytes, value: int, size: int, flags: int) -> int:
    if flags & ~3:
        raise Fail(E.EINVAL)
    if size > VALUE_LIMIT:
        raise Fail(E.E2BIG)
    _check(task, inode, name, WRITE)
    inode.set_attribute(name, _sys.vm_read(task.tid, value, size), flags)
    return 0


def _answer(task: Task, data: bytes, address: int, size: int) -> int:
    if size:
        if len(data) > size:
            raise Fail(E.ERANGE)
        task.process.kernel.put(task, address, data)
    return len(data)


def _get(task: Task, inode: Inode, name: bytes, value: int, size: int) -> int:
    _check(task, inode, name, READ)
    return _answer(task, inode.get_attribute(name), value, size)


def _list(task: Task, inode: Inode, address: int, size: int) -> int:
    names = [name for name in inode.list_attributes() if not name.startswith(HIDDEN)]
    return _answer(task, b"".join(name + b"\0" for name in names), address, size)


def _remove(task: Task, inode: Inode, name: bytes) -> int:
    _check(task, inode, name, WRITE)
    inode.remove_attribute(name)
    return 0


def sys_setxattr(task: Task, path: int, name: int, value: int, size: int, flags: int, *_: int) -> int:
    return _set(task, changeable(existing(task, -100, task.path())), task.path2(), value, size, flags)


def sys_lsetxattr(task: Task, path: int, name: int, value: int, size: int, flags: int, *_: int) -> int:
    dentry = existing(task, -100, task.path(), follow=False)
    return _set(task, changeable(dentry), task.path2(), value, size, flags)


def sys_fsetxattr(task: Task, fd: int, name: int, value: int, size: int, flags: int, *_: int) -> int:
    file = task.file(fd)
    inode = changeable(file.dentry) if file.dentry else file.inode
    return _set(task, inode, task.path(), value, size, flags)


def sys_getxattr(task: Task, path: int, name: int, value: int, size: int, *_: int) -> int:
    return _get(task, existing(task, -100, task.path()).inode, task.path2(), value, size)


def sys_lgetxattr(task: Task, path: int, name: int, value: int, size: int, *_: int) -> int:
    return _get(task, existing(task, -100, task.path(), follow=False).inode, task.path2(), value, size)


def sys_fgetxattr(task: Task, fd: int, name: int, value: int, size: int, *_: int) -> int:
    return _get(task, task.file(fd).inode, task.path(), value, size)


def sys_listxattr(task: Task, path: int, address: int, size: int, *_: int) -> int:
    return _list(task, existing(task, -100, task.path()).inode, address, size)


def sys_llistxattr(task: Task, path: int, address: int, size: int, *_: int) -> int:
    return _list(task, existing(task, -100, task.path(), follow=False).inode, address, size)


def sys_flistxattr(task: Task, fd: int, address: int, size: int, *_: int) -> int:
    return _list(task, task.file(fd).inode, address, size)


def sys_removexattr(task: Task, path: int, name: int, *_: int) -> int:
    return _remove(task, changeable(existing(task, -100, task.path())), task.path2())


def sys_lremovexattr(task: Task, path: int, name: int, *_: int) -> int:
    return _remove(task, changeable(existing(task, -100, task.path(), follow=False)), task.path2())


def sys_fremovexattr(task: Task, fd: int, name: int, *_: int) -> int:
    return _remove(task, task.file(fd).inode, task.path())
