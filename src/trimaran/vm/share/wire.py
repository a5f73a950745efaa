"""FUSE's messages, as far as the server uses them: include/uapi/linux/fuse.h of Linux, protocol 7.36."""

from __future__ import annotations

import os
import struct

MAJOR = 7
MINOR = 36

LOOKUP, FORGET, GETATTR, SETATTR, READLINK, SYMLINK = 1, 2, 3, 4, 5, 6
MKNOD, MKDIR, UNLINK, RMDIR, RENAME, LINK = 8, 9, 10, 11, 12, 13
OPEN, READ, WRITE, STATFS, RELEASE, FSYNC = 14, 15, 16, 17, 18, 20
SETXATTR, GETXATTR, LISTXATTR, REMOVEXATTR, FLUSH, INIT = 21, 22, 23, 24, 25, 26
OPENDIR, READDIR, RELEASEDIR, FSYNCDIR, CREATE, INTERRUPT = 27, 28, 29, 30, 35, 36
DESTROY, BATCH_FORGET, FALLOCATE, READDIRPLUS, RENAME2, LSEEK = 38, 42, 43, 44, 45, 46
SYNCFS = 50

# INIT flags
ASYNC_READ = 1 << 0
ATOMIC_O_TRUNC = 1 << 3
BIG_WRITES = 1 << 5
AUTO_INVAL_DATA = 1 << 12
DO_READDIRPLUS = 1 << 13
READDIRPLUS_AUTO = 1 << 14
PARALLEL_DIROPS = 1 << 18
MAX_PAGES = 1 << 22
CACHE_SYMLINKS = 1 << 23

# SETATTR valid bits
FATTR_MODE, FATTR_UID, FATTR_GID, FATTR_SIZE = 1, 2, 4, 8
FATTR_ATIME, FATTR_MTIME, FATTR_FH, FATTR_ATIME_NOW, FATTR_MTIME_NOW = 16, 32, 64, 128, 256

IN_HEADER = struct.Struct("<IIQQIIII")  # len opcode unique nodeid uid gid pid padding
OUT_HEADER = struct.Struct("<IiQ")  # len error unique
INIT_IN = struct.Struct("<IIII")
INIT_OUT = struct.Struct("<IIIIHHIIHHI28x")
ATTR = struct.Struct("<QQQQQQIIIIIIIIII")
ENTRY = struct.Struct("<QQQQII")  # nodeid generation entry_valid attr_valid and their nanoseconds
ATTR_OUT = struct.Struct("<QII")
SETATTR_IN = struct.Struct("<IIQQQQQQIIIIIIII")
MKNOD_IN = struct.Struct("<IIII")
MKDIR_IN = struct.Struct("<II")
RENAME_IN = struct.Struct("<Q")
RENAME2_IN = struct.Struct("<QII")
OPEN_IN = struct.Struct("<II")
OPEN_OUT = struct.Struct("<QII")
CREATE_IN = struct.Struct("<IIII")
READ_IN = struct.Struct("<QQIIQII")  # fh offset size read_flags lock_owner flags padding
WRITE_IN = struct.Struct("<QQIIQII")
WRITE_OUT = struct.Struct("<II")
RELEASE_IN = struct.Struct("<QIIQ")
FSYNC_IN = struct.Struct("<QII")
STATFS_OUT = struct.Struct("<QQQQQIIII24x")
XATTR_SET_IN = struct.Struct("<II")
XATTR_GET_IN = struct.Struct("<II")
FALLOCATE_IN = struct.Struct("<QQQII")
LSEEK_IN = struct.Struct("<QQII")
DIRENT = struct.Struct("<QQII")


def attributes(stat: os.stat_result, inode: int) -> bytes:
    """A fuse_attr."""
    return ATTR.pack(
        inode,
        stat.st_size,
        stat.st_blocks,
        *(when // 1_000_000_000 & 0xFFFFFFFFFFFFFFFF for when in _times(stat)),
        *(when % 1_000_000_000 for when in _times(stat)),
        stat.st_mode,
        stat.st_nlink & 0xFFFFFFFF,
        stat.st_uid,
        stat.st_gid,
        _device(stat.st_rdev),
        stat.st_blksize & 0xFFFFFFFF,
        0,
    )


def _times(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_atime_ns, stat.st_mtime_ns, stat.st_ctime_ns


def _device(number: int) -> int:
    """A device number in the kernel's 32-bit form."""
    minor = os.minor(number)
    return (minor & 0xFF) | (os.major(number) << 8) | ((minor & ~0xFF) << 12)


def dirent(inode: int, offset: int, name: bytes, kind: int) -> bytes:
    """A fuse_dirent, padded to eight bytes."""
    record = DIRENT.pack(inode, offset, len(name), kind) + name
    return record + bytes(-len(record) % 8)
