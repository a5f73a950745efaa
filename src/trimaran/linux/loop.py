"""Loop devices: a file as a block device (loop(4))."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from trimaran.errors import KernelError

_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_CONFIGURE = 0x4C0A
_LO_FLAGS_READ_ONLY = 1
_LO_FLAGS_AUTOCLEAR = 4
# struct loop_config: descriptor, block size, struct loop_info64 (of which only lo_flags is set), reserved.
_CONFIG = struct.Struct("=II 52x I 176x 64x")
_ATTEMPTS = 100


def attach_read_only(path: str) -> tuple[int, str]:
    """A free loop device with the file behind it: its descriptor, and its path.

    It is let go of by the kernel when the descriptor is closed and nothing is mounted from it. Raises
    KernelError.
    """
    backing = -1
    try:
        backing = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        for _ in range(_ATTEMPTS):
            device = _free_device()
            fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.ioctl(fd, _LOOP_CONFIGURE, _config(backing))
                return fd, device
            except OSError as error:
                os.close(fd)
                # Somebody else has taken it since.
                if error.errno != errno.EBUSY:
                    raise
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
    except OSError as error:
        raise KernelError("loop device", error.errno or 0, path) from error
    finally:
        if backing >= 0:
            os.close(backing)


def _config(backing: int) -> bytes:
    return _CONFIG.pack(backing, 0, _LO_FLAGS_READ_ONLY | _LO_FLAGS_AUTOCLEAR)


def _free_device() -> str:
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        return f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
    finally:
        os.close(control)
