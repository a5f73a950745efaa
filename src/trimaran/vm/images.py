"""Layers as EROFS images, which machines share as read-only disks. Made once a layer, by mkfs.erofs(1)."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess

from trimaran.errors import KernelError, TrimaranError

_SECONDS = 600


def available() -> bool:
    """Whether images can be made here; without mkfs.erofs, layers are shared as directories."""
    return shutil.which("mkfs.erofs") is not None


def layer_image(layer: str, cache: str) -> str:
    """Path of the image of a layer directory, in the on-disk form of overlayfs.

    A layer never changes once it is unpacked, so its directory's identity and time name the image.
    """
    try:
        found = os.stat(layer)
    except OSError as error:
        raise KernelError("stat", error.errno or 0, layer) from error
    identity = f"{os.path.realpath(layer)} {found.st_dev} {found.st_ino} {found.st_ctime_ns}"
    directory = os.path.join(cache, "layers")
    path = os.path.join(directory, f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.erofs")
    if not os.path.exists(path):
        os.makedirs(directory, mode=0o700, exist_ok=True)
        _make(layer, path)
    return path


def _make(layer: str, path: str) -> None:
    partial = f"{path}.{os.getpid()}"
    # Extended inodes keep each file's own time; -x0 keeps extended attributes in the inodes.
    command = ["mkfs.erofs", "-Eforce-inode-extended", "--quiet", partial, layer]
    result = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if result.returncode:
        if os.path.exists(partial):
            os.unlink(partial)
        raise TrimaranError(f"cannot make an image of {layer}", why=result.stderr.strip()[-300:])
    os.replace(partial, path)


def scratch_disk(path: str, size: int) -> None:
    """Make a sparse file of SIZE bytes with an empty ext4 file system: a container's writable disk."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(fd, size)
    finally:
        os.close(fd)
    command = [
        "mkfs.ext4",
        "-q",
        "-F",
        "-E",
        "lazy_itable_init=1,nodiscard",
        "-O",
        "^has_journal",
        "-m",
        "0",
        path,
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if result.returncode:
        raise TrimaranError("cannot make the container's disk", why=result.stderr.strip()[-300:])
