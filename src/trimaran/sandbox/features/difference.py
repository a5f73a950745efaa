"""What a run has changed: its upper directory as a list, which is then kept or thrown away."""

from __future__ import annotations

import os
import stat as S

from trimaran.sandbox.kernel.vfs.layers import Layer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from trimaran.sandbox.kernel.vfs.layered import LayeredFs


class Change:
    """``kind`` is ``added``, ``modified`` or ``deleted``, as ``docker diff`` has A, C and D."""

    __slots__ = ("kind", "path", "size")

    def __init__(self, kind: str, path: bytes, size: int) -> None:
        self.kind = kind
        self.path = path
        self.size = size

    def __repr__(self) -> str:
        return f"{self.kind} {os.fsdecode(self.path)}"


def changes(fs: LayeredFs) -> list[Change]:
    """All changes against the layers, sorted by path; a directory that only holds changes is modified."""
    if fs.upper is None:
        return []
    return sorted(_walk(fs, fs.upper, b""), key=lambda change: change.path)


def _walk(fs: LayeredFs, upper: Layer, directory: bytes) -> Iterator[Change]:
    for name, _number, kind in upper.scan(directory):
        path = directory + b"/" + name if directory else name
        below = _below(fs, path)
        if not kind:
            yield Change("deleted", b"/" + path, 0)
            continue
        found = upper.stat(path)
        size = found.st_size if found is not None and S.S_ISREG(found.st_mode) else 0
        yield Change("modified" if below else "added", b"/" + path, size)
        if kind == S.S_IFDIR:
            yield from _walk(fs, upper, path)


def _below(fs: LayeredFs, path: bytes) -> bool:
    for layer in fs.lower:
        found = layer.stat(path)
        if found is not None:
            return not layer.is_whiteout(path, found)
    return False


def discard(fs: LayeredFs) -> None:
    """Throw all changes away. Only when nothing runs in the sandbox any longer."""
    import shutil

    if fs.upper is None:
        return
    for name, _number, kind in fs.upper.scan(b""):
        if kind == S.S_IFDIR:
            shutil.rmtree(os.fsdecode(name), dir_fd=fs.upper.fd)
        else:
            os.unlink(name, dir_fd=fs.upper.fd)
