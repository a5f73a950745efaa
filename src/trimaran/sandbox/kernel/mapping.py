"""Files in memory (mmap(2), memfd_create(2)). Memory without a file is the host's business."""

from __future__ import annotations

import errno as E
import os

from trimaran.linux import _sys
from trimaran.sandbox.kernel.file import O_ACCMODE, O_PATH, O_RDWR, O_WRONLY, File
from trimaran.sandbox.kernel.outcome import Continue, Fail
from trimaran.sandbox.kernel.reading import s64
from trimaran.sandbox.kernel.signals import s32
from trimaran.sandbox.kernel.task import Task

MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE, MAP_TYPE = 1, 2, 3, 15
PROT_WRITE, PROT_EXEC = 2, 4
MAX_REAL = 4096
"""Numbers above this are not used for real descriptors."""


def sys_mmap(task: Task, address: int, size: int, protection: int, flags: int, fd: int, offset: int) -> int:
    file = task.file(s32(fd))
    kind = flags & MAP_TYPE
    if file.flags & O_PATH:
        raise Fail(E.EBADF)
    if kind not in (MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE) or not size or offset % 4096:
        raise Fail(E.EINVAL)
    mode = file.flags & O_ACCMODE
    if mode == O_WRONLY:
        raise Fail(E.EACCES)
    shared = kind != MAP_PRIVATE
    if shared and protection & PROT_WRITE and mode != O_RDWR:
        raise Fail(E.EACCES)
    if protection & PROT_EXEC and file.dentry is not None and file.dentry.mount.noexec:
        raise Fail(E.EPERM)
    if file.inode.is_dir or s64(offset) < 0:
        raise Fail(E.ENODEV if file.inode.is_dir else E.EOVERFLOW)
    _inject(task, fd & 0xFFFFFFFF, file, shared and mode == O_RDWR)
    raise Continue


def _inject(task: Task, fd: int, file: File, writable: bool) -> None:
    """Put a real descriptor of FILE at its number; unless it may be written, one that cannot be."""
    if fd >= MAX_REAL:
        raise Fail(E.EMFILE)
    host = file.host_fd(writable)
    own = host
    if not writable:
        own = os.open(b"/proc/self/fd/%d" % host, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _sys.notify_add_fd(task.listener, task.call, own, fd)
    finally:
        if own != host:
            os.close(own)
    task.process.files.injected.add(fd)


def sys_memfd_create(task: Task, name: int, flags: int, *_: int) -> int:
    label = task.path()
    if flags & ~0x1F or len(label) > 249:
        raise Fail(E.EINVAL)
    file = task.process.kernel.namespace.memory_file(b"memfd:" + label)
    return task.install(file, cloexec=bool(flags & 1))
