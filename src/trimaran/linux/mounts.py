"""Detached mounts and safe paths: fsmount(2), move_mount(2), openat2(2)."""

from __future__ import annotations

import os

from trimaran.errors import KernelError, Unsupported
from trimaran.linux import _sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_IDMAP = 0x100000

OPEN_TREE_CLONE = 0x1
AT_EMPTY_PATH = 0x1000

MNT_DETACH = 2
MAX_VALUE = 255  # of a string that fsconfig(2) takes
UMOUNT_NOFOLLOW = 8

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10


def open_beneath(directory: int, path: bytes, flags: int) -> int:
    """Open PATH below a directory; no link on the way is followed (ELOOP). Raises OSError."""
    return _sys.openat2(
        directory, path or b".", flags | os.O_NOFOLLOW, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
    )


def new(kind: str, options: Sequence[tuple[str, str | None]], attributes: int = 0) -> int:
    """A new, detached mount of a file system; it vanishes with the descriptor. Raises KernelError."""
    try:
        return _sys.new_mount(kind, options, attributes)
    except OSError as error:
        if error.filename == kind:
            raise Unsupported(
                f"this kernel has no {kind} file system", why=os.strerror(error.errno or 0)
            ) from None
        why = f"{error.filename} ({error.strerror})"
        raise KernelError("mount", error.errno or 0, message=f"cannot mount {kind}: {why}") from None


def overlay(
    lower: Sequence[str],
    upper: str | None = None,
    work: str | None = None,
    options: Sequence[str] = (),
    attributes: int = 0,
) -> int:
    """A detached overlay mount of directories, the uppermost first. Raises KernelError, Unsupported."""
    settings: list[tuple[str, str | None]] = [("source", "overlay")]
    opened: list[int] = []
    try:
        if takes_single_layers(os.uname().release):
            settings += (("lowerdir+", path) for path in lower)
        else:
            settings.append(("lowerdir", _as_one_string(lower, opened)))
        if upper and work:
            settings += (("upperdir", upper), ("workdir", work))
        for option in options:
            key, equals, value = option.partition("=")
            settings.append((key, value if equals else None))
        return new("overlay", settings, attributes)
    finally:
        for fd in opened:
            os.close(fd)


def takes_single_layers(release: str) -> bool:
    """Whether overlayfs of a kernel has ``lowerdir+``, which came with 6.5."""
    major, minor = (part.partition("-")[0] for part in release.split(".")[:2])
    return (int(major), int(minor)) >= (6, 5)


def _as_one_string(lower: Sequence[str], opened: list[int]) -> str:
    """The layers as the value of ``lowerdir``; by descriptor, since fsconfig(2) takes only 255 bytes."""
    for path in lower:
        opened.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    value = ":".join(f"/proc/self/fd/{fd}" for fd in opened)
    if len(value) > MAX_VALUE:
        raise Unsupported(
            f"an overlay of {len(lower)} layers",
            why="kernels before 6.5 take no more than fit into 255 bytes",
            hint="use a newer kernel, or an image with fewer layers",
        )
    return value


def attach(mount: int, target: str) -> None:
    """Attach a detached mount on the directory TARGET, which must not be a link. Raises KernelError."""
    fd = -1
    try:
        fd = os.open(target, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC)
        _sys.move_mount(mount, fd)
    except OSError as error:
        raise KernelError("move_mount", error.errno or 0, target) from None
    finally:
        if fd >= 0:
            os.close(fd)


def detach(target: str) -> None:
    """Take the mount on TARGET away, as soon as nobody uses it any more. Raises KernelError."""
    try:
        _sys.umount(os.fsencode(target), MNT_DETACH | UMOUNT_NOFOLLOW)
    except OSError as error:
        raise KernelError("umount", error.errno or 0, target) from None
