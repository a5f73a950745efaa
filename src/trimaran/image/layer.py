"""Unpacking one layer: an uncompressed tar stream onto a directory, in the on-disk form of overlayfs.

The work is done in C on directory descriptors (``native/ext/unpack.h``), without the GIL: a thread that
decompresses and hashes, and one that feeds an :class:`LayerUnpacker`, use two processors. Layers do not
depend on each other, so they unpack in parallel, each into a directory of its own; what a layer leaves to
the ones below is in the :class:`LayerResult`, and settled when the snapshot is committed.

Whiteouts become 0:0 character devices and opaque directories get an ``overlay.opaque`` attribute
(https://github.com/opencontainers/image-spec/blob/main/layer.md, kernel Documentation/filesystems/overlayfs).
What a layer both removes and has itself is kept, whatever the order in the stream.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from trimaran.errors import ImageError, KernelError, TrimaranError
from trimaran.linux import _sys

CHUNK_SIZE = 1 << 20

# Flags of _sys.unpack_new (native/ext/tree.c).
_KEEP_OWNER, _USER_XATTRS, _SKIP_DEVICES, _LATE_MODES = 1, 2, 4, 8

_HINTS = {
    ("fchown", errno.EPERM): "an ordinary user needs a range of subordinate ids (subuid(5)) or keep_owner",
    ("fchownat", errno.EPERM): "an ordinary user needs a range of subordinate ids (subuid(5)) or keep_owner",
    ("fchown", errno.EINVAL): "the user namespace does not map this id; widen the range in /etc/subuid",
    ("fchownat", errno.EINVAL): "the user namespace does not map this id; widen the range in /etc/subuid",
    (
        "mknodat",
        errno.EPERM,
    ): "only root of the host may make devices, and not on every file system",
    (
        "setxattr",
        errno.EPERM,
    ): "only root of the host may set it; use user_xattrs when rootless",
    ("setxattr", errno.ENOTSUP): "the file system of the root directory has no extended attributes",
    ("openat", errno.EMFILE): "raise the limit of open files (ulimit -n)",
}


@dataclass(frozen=True)
class UnpackOptions:
    """How to unpack. Id maps are (inside, outside, count), as in user_namespaces(7); none keeps the ids.

    ``keep_owner`` gives everything to the caller instead of chown; ``user_xattrs`` marks opaque directories
    for an overlay mounted with ``userxattr``; ``skip_devices`` leaves devices out; ``late_modes`` sets the
    modes of directories last, for a caller who is bound by them.
    """

    uids: Sequence[tuple[int, int, int]] = ()
    gids: Sequence[tuple[int, int, int]] = ()
    keep_owner: bool = False
    user_xattrs: bool = False
    skip_devices: bool = False
    late_modes: bool = False
    max_entries: int = 10_000_000
    max_size: int = 1 << 40

    @classmethod
    def for_caller(cls) -> UnpackOptions:
        """What this process may do: all of it as root, else a tree that belongs to the caller alone."""
        if os.geteuid() == 0:
            return cls()
        return cls(keep_owner=True, user_xattrs=True, skip_devices=True, late_modes=True)


@dataclass(frozen=True)
class LayerResult:
    """What has been unpacked: ``size`` bytes of tar stream, ``entries`` members.

    ``implicit`` are directories that no member describes ("" is the root): they take after the layers
    below. ``links`` are hard links (path, target) whose target this layer does not have; ``whiteouts`` are
    all that have been made. ``opaque`` says that the root directory hides all layers below.
    ``dropped_xattrs`` counts attributes that the file system or the caller's rights do not allow.
    """

    size: int
    entries: int
    implicit: tuple[bytes, ...] = ()
    links: tuple[tuple[bytes, bytes], ...] = ()
    whiteouts: tuple[bytes, ...] = ()
    opaque: bool = False
    dropped_xattrs: int = 0
    skipped_devices: int = 0


class LayerUnpacker:
    """Applies a tar stream that is handed to it in pieces. Not for two threads at once.

    Raises :class:`ImageError` for a stream that is malformed, hostile or above a limit, and
    :class:`KernelError` for what the host refuses; the target directory then holds a part of the layer.
    """

    def __init__(self, target_fd: int, options: UnpackOptions | None = None) -> None:
        chosen = options or UnpackOptions.for_caller()
        flags = (
            _KEEP_OWNER * chosen.keep_owner
            | _USER_XATTRS * chosen.user_xattrs
            | _SKIP_DEVICES * chosen.skip_devices
            | _LATE_MODES * chosen.late_modes
        )
        try:
            self._unpacker: _sys._Unpacker | None = _sys.unpack_new(
                target_fd, chosen.uids, chosen.gids, flags, chosen.max_entries, chosen.max_size
            )
        except OSError as error:
            raise _explain(error) from error

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Apply the next bytes of the stream."""
        try:
            _sys.unpack_feed(self._open(), data)
        except (OSError, ValueError) as error:
            raise _explain(error) from error

    def finish(self) -> LayerResult:
        """The stream has ended; raises :class:`ImageError` if it is cut off."""
        try:
            size, entries, implicit, links, whiteouts, *rest = _sys.unpack_finish(self._open())
        except (OSError, ValueError) as error:
            raise _explain(error) from error
        self.close()
        opaque, dropped, skipped = rest
        lists = tuple(implicit), tuple(links), tuple(whiteouts)
        return LayerResult(size, entries, *lists, bool(opaque), dropped, skipped)

    def _open(self) -> _sys._Unpacker:
        if self._unpacker is None:
            raise ValueError("the unpacker is closed")
        return self._unpacker

    def close(self) -> None:
        """Let go of the target directory; idempotent."""
        unpacker = self._unpacker
        self._unpacker = None
        if unpacker is not None:
            _sys.unpack_close(unpacker)

    def __enter__(self) -> LayerUnpacker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def unpack(fd: int, target_fd: int, options: UnpackOptions | None = None) -> LayerResult:
    """Apply the uncompressed tar stream behind FD (a file or a pipe) to the directory TARGET_FD.

    Raises as :class:`LayerUnpacker` does.
    """
    buffer = bytearray(CHUNK_SIZE)
    view = memoryview(buffer)
    with LayerUnpacker(target_fd, options) as unpacker:
        while size := os.readv(fd, [buffer]):
            unpacker.feed(view[:size])
        return unpacker.finish()


def _explain(error: OSError | ValueError) -> TrimaranError:
    """The error that people see, of what the extension raised."""
    if isinstance(error, OSError):
        call, number, path = str(error.strerror), error.errno or 0, str(error.filename or "")
        hint = _HINTS.get((call, number), "")
        message = f"cannot unpack {path or 'the layer'}: {call}"
        return KernelError(call, number, path, message=message, hint=hint)
    if len(error.args) != 3:
        return ImageError("cannot unpack the layer", why=str(error))
    reason, path, offset = error.args
    where = f"layer member {path!r}" if path else "the layer"
    return ImageError(f"{where} cannot be unpacked", why=f"{reason}, at byte {offset} of its tar stream")
