"""Layouts of the structures that calls read and write, per architecture where they differ."""

from __future__ import annotations

import struct

from trimaran.sandbox.abi import MACHINE

TIMESPEC = struct.Struct("=qq")
WINSIZE = struct.Struct("=HHHH")
STATFS = struct.Struct("=qqQQQQQ8sqqq32x")
SYSINFO = struct.Struct("=q3Q6QHHxxxxQQI4x")
RLIMIT = struct.Struct("=QQ")
POLLFD = struct.Struct("=ihh")
MSGHDR = struct.Struct("=QI4xQQQQi4x")
STATX = struct.Struct("=IIQIIIHxxQQQQ qIxxxx qIxxxx qIxxxx qIxxxx IIIIQII96x")

if MACHINE == "aarch64":
    _STAT = struct.Struct("=QQIIIIQQqiiqqQqQqQII")
    EPOLL_EVENT = struct.Struct("=I4xQ")

    def pack_stat(*ids: int, size: int, blocks: int, atime: int, mtime: int, ctime: int) -> bytes:
        """``struct stat``: dev, ino, mode, nlink, uid, gid, rdev, then the rest by name; times in ns."""
        dev, ino, mode, nlink, uid, gid, rdev = ids
        times = (*divmod(atime, 10**9), *divmod(mtime, 10**9), *divmod(ctime, 10**9))
        return _STAT.pack(dev, ino, mode, nlink, uid, gid, rdev, 0, size, 4096, 0, blocks, *times, 0, 0)

else:
    _STAT = struct.Struct("=QQQIIIIQqqqqqqqqq24x")
    EPOLL_EVENT = struct.Struct("=IQ")

    def pack_stat(*ids: int, size: int, blocks: int, atime: int, mtime: int, ctime: int) -> bytes:
        """``struct stat``: dev, ino, mode, nlink, uid, gid, rdev, then the rest by name; times in ns."""
        dev, ino, mode, nlink, uid, gid, rdev = ids
        times = (*divmod(atime, 10**9), *divmod(mtime, 10**9), *divmod(ctime, 10**9))
        return _STAT.pack(dev, ino, nlink, mode, uid, gid, 0, rdev, size, 4096, blocks, *times)
