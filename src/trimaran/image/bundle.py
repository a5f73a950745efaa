"""Archives of images as something to look names up in: a tar archive, or a directory.

Names are only ever compared with each other: nothing of an archive is written under a name that it chose.
"""

from __future__ import annotations

import bz2
import lzma
import os
import tarfile
import tempfile
import zlib
from typing import IO, Any, Protocol

from trimaran.errors import ImageError, InvalidInput, NotFound
from trimaran.image.media import GZIP_MAGIC, ZSTD_MAGIC

MAX_MEMBERS = 100_000
MAX_LINKS = 10
MAX_HEADER = 1 << 20
COPY_BYTES = 1 << 20

_EXTENDED = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
_BROKEN = (
    *(tarfile.TarError, EOFError, ValueError, OverflowError, zlib.error, lzma.LZMAError, RecursionError),
)


class Bundle(Protocol):
    """Files by name."""

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""

    def open(self, name: str) -> IO[bytes]:
        """A file's content. Raises NotFound or ImageError."""

    def close(self) -> None:
        """Let go of it."""


def read(bundle: Bundle, name: str, limit: int) -> bytes:
    """A small file. Raises ImageError if it is larger than ``limit`` bytes."""
    with bundle.open(name) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ImageError(f"{name} in the archive is too large", why=f"more than {limit} bytes")
    return data


def open_bundle(path: str, spool: str, stdin: IO[bytes] | None = None) -> Bundle:
    """What is at ``path``, or comes from ``stdin``; ``spool`` is a directory for temporary files."""
    if stdin is None and os.path.isdir(path):
        return DirectoryBundle(path)
    try:
        file: IO[bytes] = stdin if stdin is not None else open(path, "rb")  # noqa: SIM115 - kept open
    except OSError as error:
        raise InvalidInput(f"cannot read {path}", why=error.strerror or "") from error
    try:
        return TarBundle(_plain(file, spool))
    except _BROKEN as error:
        raise ImageError(f"{path or 'the input'} is no image archive", why=str(error)) from error


def _plain(file: IO[bytes], spool: str) -> IO[bytes]:
    """A seekable, uncompressed file."""
    seekable = file.seekable()
    if not seekable:
        file = _spooled(file, spool)
    head = file.read(6)
    file.seek(0)
    if head.startswith(GZIP_MAGIC):
        from isal.igzip import IGzipFile

        members: Any = IGzipFile(fileobj=file, mode="rb")  # type: ignore[no-untyped-call]
        return _spooled(members, spool)
    if head.startswith(b"BZh"):
        return _spooled(bz2.BZ2File(file), spool)
    if head.startswith(b"\xfd7zXZ"):
        return _spooled(lzma.LZMAFile(file), spool)
    if head.startswith(ZSTD_MAGIC):
        from zstandard import ZstdDecompressor

        return _spooled(ZstdDecompressor().stream_reader(file, read_across_frames=True), spool)
    return file


def _spooled(source: IO[bytes], spool: str) -> IO[bytes]:
    """A temporary copy without a name. The free space is kept: a bomb fails before the disk is full."""
    copy = tempfile.TemporaryFile(dir=spool)  # noqa: SIM115 - returned
    size = 0
    while data := source.read(COPY_BYTES):
        free = os.fstatvfs(copy.fileno())
        if len(data) > free.f_bavail * free.f_frsize // 2:
            copy.close()
            raise ImageError("the archive is too large", why=f"after {size} bytes the disk is nearly full")
        copy.write(data)
        size += len(data)
    copy.seek(0)
    return copy


class _Member(tarfile.TarInfo):
    """A member whose extended header, which tarfile reads into memory whole, has a limit."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _EXTENDED and self.size > MAX_HEADER:
            raise ImageError("the archive has too large a header", why=f"{self.size} bytes")
        member: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        return member


class TarBundle:
    """The members of a tar archive."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._tar = tarfile.open(fileobj=file, mode="r:", tarinfo=_Member)  # noqa: SIM115 - closed by close()
        self._members: dict[str, tarfile.TarInfo] = {}
        for member in self._tar:
            if len(self._members) >= MAX_MEMBERS:
                raise ImageError("the archive has too many members", why=f"more than {MAX_MEMBERS}")
            self._members[os.path.normpath(member.name)] = member

    def has(self, name: str) -> bool:
        return name in self._members

    def open(self, name: str) -> IO[bytes]:
        wanted = os.path.normpath(name)
        for _ in range(MAX_LINKS):
            member = self._members.get(wanted)
            if member is None:
                raise NotFound(f"the archive has no {name[:200]!r}")
            if member.issym():
                wanted = os.path.normpath(os.path.join(os.path.dirname(wanted), member.linkname))
            elif member.islnk():
                wanted = os.path.normpath(member.linkname)
            else:
                break
        else:
            raise ImageError(f"{name[:200]!r} in the archive is a circle of links")
        content = self._tar.extractfile(member) if member.isreg() and not member.issparse() else None
        if content is None:
            raise ImageError(f"{name[:200]!r} in the archive is no plain file")
        return content

    def close(self) -> None:
        self._tar.close()
        self._file.close()


class DirectoryBundle:
    """The files of a directory. Links that lead out of it are refused."""

    def __init__(self, path: str) -> None:
        self._path = os.path.realpath(path)

    def _resolve(self, name: str) -> str:
        path = os.path.realpath(os.path.join(self._path, name))
        if os.path.commonpath([path, self._path]) != self._path:
            raise ImageError(f"{name[:200]!r} leads out of {self._path}")
        return path

    def has(self, name: str) -> bool:
        return os.path.isfile(self._resolve(name))

    def open(self, name: str) -> IO[bytes]:
        try:
            return open(self._resolve(name), "rb")
        except OSError as error:
            raise NotFound(f"cannot read {name} in {self._path}", why=error.strerror or "") from error

    def close(self) -> None:
        """Nothing is held."""
