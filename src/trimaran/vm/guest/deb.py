"""Reads files out of a Debian package (deb(5)) without dpkg."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator

from trimaran.errors import InvalidInput

_HEADER_SIZE = 60


def members(path: str, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the regular files in the package whose name (no leading ``./``) is WANTED.

    Raises :class:`InvalidInput` if PATH is no Debian package.
    """
    with open(path, "rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise InvalidInput(f"{path} cannot be used", why="it is not a Debian package")
        while header := file.read(_HEADER_SIZE):
            name = header[:16].decode("ascii", "replace").rstrip(" /")
            if len(header) != _HEADER_SIZE or not header[48:58].strip().isdigit():
                break
            size = int(header[48:58])
            if name.startswith("data.tar"):
                yield from _files(name, file.read(size), wanted)
                return
            file.seek(size + size % 2, io.SEEK_CUR)
    raise InvalidInput(f"{path} cannot be used", why="the package has no data part")


def _files(name: str, data: bytes, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    if name.endswith(".zst"):
        import zstandard

        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            path = member.name.removeprefix("./")
            if member.isreg() and wanted(path):
                content = archive.extractfile(member)
                if content is not None:
                    yield path, content.read()
