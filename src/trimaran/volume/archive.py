"""Volumes to tar archives and back (pax(1)): backup and restore.

An archive is hostile input: the standard library only reads it. Every entry is made by descriptor, no link
is followed on the way to it, and nothing that is there already is written through.
"""

from __future__ import annotations

import lzma
import os
import shutil
import tarfile
import zlib
from typing import IO

from trimaran.errors import InvalidInput, KernelError, TrimaranError
from trimaran.linux import _sys
from trimaran.linux.mounts import open_beneath

_ATTRIBUTE = "SCHILY.xattr."
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
# The library meets some garbage with errors that are not its own.
_UNREADABLE = (tarfile.TarError, EOFError, TypeError, ValueError, zlib.error, lzma.LZMAError)
_SPECIAL = {tarfile.FIFOTYPE: 0o010000, tarfile.CHRTYPE: 0o020000, tarfile.BLKTYPE: 0o060000}


def backup(directory: str, output: IO[bytes]) -> None:
    """Write all files below a directory as one archive. Raises KernelError."""
    try:
        with tarfile.open(fileobj=output, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            archive.add(directory, arcname=".", filter=lambda member: _with_attributes(member, directory))
    except OSError as error:
        raise KernelError("read", error.errno or 0, error.filename or directory) from error


def _with_attributes(member: tarfile.TarInfo, directory: str) -> tarfile.TarInfo | None:
    if member.type == tarfile.REGTYPE or member.isdir():
        path = os.path.join(directory, member.name)
        attributes = {
            _ATTRIBUTE + name: os.getxattr(path, name).decode("utf-8", "surrogateescape")
            for name in os.listxattr(path)
        }
        member.pax_headers = attributes
    return member


def restore(directory: str, source: IO[bytes]) -> int:
    """Make the files of an archive (plain, gzip, bzip2 or xz) below a directory; how many entries it had.

    A file that is there is replaced; a directory is kept. Raises InvalidInput for what is no archive or
    has names that leave the directory, KernelError.
    """
    count = 0
    root = os.open(directory, _DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with tarfile.open(fileobj=source, mode="r|*") as archive:
            directories = []
            for member in archive:
                parts = _parts(member.name)
                _make(root, parts, member, archive)
                directories += [(parts, member)] if member.isdir() else []
                count += 1
        # Deepest last made, first set: what is made in a directory changes its times.
        for parts, member in reversed(directories):
            fd = open_beneath(root, b"/".join(parts), _DIRECTORY)
            try:
                _set_metadata(fd, member)
            finally:
                os.close(fd)
    except _UNREADABLE as error:
        raise InvalidInput("cannot restore the archive", why=str(error) or "it is cut short") from error
    except OSError as error:
        raise KernelError("restore", error.errno or 0, str(error.filename or directory)) from error
    finally:
        os.close(root)
    return count


def _parts(name: str) -> list[bytes]:
    parts = [part for part in os.fsencode(name).split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise InvalidInput(f"the archive names {name!r}", why="it leaves the volume")
    return parts


def _make(root: int, parts: list[bytes], member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
    if not parts:
        return
    parent = _open_parent(root, parts[:-1])
    try:
        name = parts[-1]
        if member.isdir():
            _make_directory(parent, name)
            return
        _clear(parent, name)
        if member.issym():
            os.symlink(member.linkname, name, dir_fd=parent)
            os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
        elif member.islnk():
            _make_link(root, parent, name, member)
        elif member.isreg():
            _make_file(parent, name, member, archive)
        elif member.type in _SPECIAL:
            _make_special(parent, name, member)
        else:
            raise InvalidInput(f"the archive has {member.name!r} of an unknown type")
    finally:
        os.close(parent)


def _open_parent(root: int, parts: list[bytes]) -> int:
    """The directory, made where it is missing; a link or file in its place is an InvalidInput."""
    current = os.dup(root)
    for part in parts:
        _make_directory(current, part)
        try:
            below = open_beneath(current, part, _DIRECTORY)
        finally:
            os.close(current)
        current = below
    return current


def _make_directory(parent: int, name: bytes) -> None:
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if status.st_mode & 0o170000 != 0o040000:
            raise InvalidInput(
                f"the archive needs {os.fsdecode(name)!r} to be a directory", why="it is a link or a file"
            ) from None


def _clear(parent: int, name: bytes) -> None:
    try:
        _sys.remove_tree(parent, name)
    except FileNotFoundError:
        pass


def _make_link(root: int, parent: int, name: bytes, member: tarfile.TarInfo) -> None:
    target = _parts(member.linkname)
    if not target:
        raise InvalidInput(f"the archive links {member.name!r} to nothing")
    above = open_beneath(root, b"/".join(target[:-1]), os.O_PATH | os.O_DIRECTORY)
    try:
        os.link(target[-1], name, src_dir_fd=above, dst_dir_fd=parent, follow_symlinks=False)
    finally:
        os.close(above)


def _make_file(parent: int, name: bytes, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
    content = archive.extractfile(member)
    if content is None:
        raise TrimaranError(f"the archive has no content for {member.name!r}")
    fd = os.open(
        name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent
    )
    with os.fdopen(fd, "wb") as file:
        shutil.copyfileobj(content, file)
        file.flush()
        _set_metadata(fd, member)


def _make_special(parent: int, name: bytes, member: tarfile.TarInfo) -> None:
    device = os.makedev(member.devmajor, member.devminor)
    os.mknod(name, _SPECIAL[member.type] | 0o600, device, dir_fd=parent)
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
        os.chmod(f"/proc/self/fd/{fd}", member.mode & 0o7777)
        os.utime(f"/proc/self/fd/{fd}", (member.mtime, member.mtime))
    finally:
        os.close(fd)


def _set_metadata(fd: int, member: tarfile.TarInfo) -> None:
    os.fchown(fd, member.uid, member.gid)
    for key, value in member.pax_headers.items():
        if key.startswith(_ATTRIBUTE):
            os.setxattr(fd, key.removeprefix(_ATTRIBUTE), value.encode("utf-8", "surrogateescape"))
    os.fchmod(fd, member.mode & 0o7777)
    os.utime(fd, (member.mtime, member.mtime))
