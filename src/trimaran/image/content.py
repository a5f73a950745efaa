"""The content store: blobs by digest, written atomically, and ingests that go on where they stopped.

``ROOT/blobs/ALGORITHM/HEX`` holds whole, verified blobs only. ``ROOT/ingest/ALGORITHM-HEX`` holds what has
come of a blob so far; a file lock gives it to one writer, and a writer that died leaves it to the next.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, BinaryIO

from trimaran.errors import ImageError, IntegrityError, NotFound
from trimaran.image.reference import is_digest

if TYPE_CHECKING:
    from hashlib import _Hash

LOCK_POLL_SECONDS = 0.05
_READ = 1 << 20


def _sleep() -> None:
    time.sleep(LOCK_POLL_SECONDS)


class ContentStore:
    """Blobs below a directory, which is made if need be. Any number of processes may use it at once."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._blobs = os.path.join(root, "blobs")
        self._ingests = os.path.join(root, "ingest")
        for directory in (os.path.join(self._blobs, "sha256"), self._ingests):
            os.makedirs(directory, mode=0o700, exist_ok=True)

    def path(self, digest: str) -> str:
        """Where the blob is, or would be."""
        if not is_digest(digest):
            raise ImageError(f"{digest[:80]!r} is no digest")
        algorithm, _, value = digest.partition(":")
        return os.path.join(self._blobs, algorithm, value)

    def size(self, digest: str) -> int | None:
        """The blob's size in bytes; None if it is not here."""
        try:
            return os.stat(self.path(digest)).st_size
        except FileNotFoundError:
            return None

    def open(self, digest: str) -> BinaryIO:
        """The blob, unbuffered. Raises :class:`~trimaran.errors.NotFound`."""
        try:
            return open(self.path(digest), "rb", buffering=0)
        except FileNotFoundError:
            raise NotFound(
                f"the content {digest} is not in the store",
                hint="pull the image again, or run `trimaran check --repair`",
            ) from None

    def read(self, digest: str, limit: int) -> bytes:
        """A small blob, verified once more. Raises ImageError if it is larger than ``limit`` bytes."""
        with self.open(digest) as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise ImageError(f"the content {digest} is too large", why=f"{size} bytes, at most {limit}")
            data = file.read(limit + 1)
        check(data, digest)
        return data

    def add(self, data: bytes, algorithm: str = "sha256") -> str:
        """Store bytes and return their digest."""
        digest = digest_of(data, algorithm)
        with self.ingest(digest, len(data)) as ingest:
            if not ingest.complete:
                ingest.restart()
                ingest.write(data)
                ingest.commit()
        return digest

    def ingest(self, digest: str, size: int | None = None, waiting: Callable[[], None] = _sleep) -> Ingest:
        """Begin, or go on, to write a blob.

        While somebody else writes the same one, ``waiting`` is called again and again: to sleep, or to raise.
        """
        algorithm, _, value = digest.partition(":")
        target, partial = self.path(digest), os.path.join(self._ingests, f"{algorithm}-{value}")
        return Ingest(target, _lock(partial, target, waiting), partial, digest, size)

    def temporary(self) -> Temporary:
        """A blob whose digest is known only when it has been written."""
        return Temporary(self, self._ingests)

    def verify(self, digest: str) -> None:
        """Read a blob to its end. Raises IntegrityError, and removes it, if it does not match its digest."""
        actual = hasher(digest)
        with self.open(digest) as file:
            while data := file.read(_READ):
                actual.update(data)
        if actual.hexdigest() != digest.partition(":")[2]:
            self.remove(digest)
            raise IntegrityError(
                f"the content {digest} was damaged in the store", why=f"its digest is {actual.hexdigest()}"
            )

    def remove(self, digest: str) -> int:
        """Remove a blob if it is there; returns how many bytes that freed."""
        size = self.size(digest) or 0
        try:
            os.unlink(self.path(digest))
        except FileNotFoundError:
            return 0
        return size

    def walk(self) -> Iterator[tuple[str, int]]:
        """Every blob's digest and size; files that are no blobs are left out."""
        for algorithm in sorted(os.listdir(self._blobs)):
            with os.scandir(os.path.join(self._blobs, algorithm)) as entries:
                for entry in entries:
                    digest = f"{algorithm}:{entry.name}"
                    if is_digest(digest):
                        yield digest, entry.stat(follow_symlinks=False).st_size

    def partials(self) -> Iterator[tuple[str, str, os.stat_result]]:
        """Every unfinished ingest: digest, path and status."""
        with os.scandir(self._ingests) as entries:
            for entry in entries:
                yield entry.name.replace("-", ":", 1), entry.path, entry.stat(follow_symlinks=False)

    def drop_partial(self, path: str) -> int:
        """Remove an unfinished ingest that nobody is writing; returns how many bytes that freed."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return 0
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            size = os.fstat(fd).st_size
            os.unlink(path)
            return size
        except (BlockingIOError, FileNotFoundError):
            return 0
        finally:
            os.close(fd)


class Ingest:
    """A blob on its way in. :attr:`complete` says that it was there already; else write, then commit.

    Leaving the ``with`` block without :meth:`commit` keeps what has been written, for the next attempt.
    """

    def __init__(self, target: str, fd: int, partial: str, digest: str, size: int | None) -> None:
        self.digest = digest
        self.expected = size
        self.hash: _Hash = hasher(digest)
        self._target = target
        self._partial = partial
        self._fd = fd
        self.complete = self._fd < 0
        self.offset = 0 if self.complete else os.fstat(self._fd).st_size
        if size is not None and self.offset > size:
            self.restart()

    def resume(self) -> Iterator[bytes]:
        """Read, hash and yield what an earlier attempt has left. To be called before :meth:`write`."""
        position = 0
        while position < self.offset:
            data = os.pread(self._fd, min(_READ, self.offset - position), position)
            if not data:
                break
            self.hash.update(data)
            position += len(data)
            yield data

    def restart(self) -> None:
        """Forget what has been written."""
        os.ftruncate(self._fd, 0)
        self.offset = 0
        self.hash = hasher(self.digest)

    def write(self, data: bytes | memoryview) -> None:
        """Append. Raises :class:`~trimaran.errors.IntegrityError` past the expected size."""
        if self.expected is not None and self.offset + len(data) > self.expected:
            raise IntegrityError(
                f"the content {self.digest} is too long", why=f"more than the stated {self.expected} bytes"
            )
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, self.offset)
            self.hash.update(view[:written])
            self.offset += written
            view = view[written:]

    def commit(self) -> None:
        """Verify size and digest, and make the blob visible, durably.

        Raises :class:`~trimaran.errors.IntegrityError`; what was written is then dropped.
        """
        actual = f"{self.digest.partition(':')[0]}:{self.hash.hexdigest()}"
        if actual != self.digest or self.expected not in (None, self.offset):
            size = self.offset
            self.restart()
            why = (
                f"it has the digest {actual}"
                if actual != self.digest
                else f"it has {size} bytes, {self.expected} were stated"
            )
            raise IntegrityError(f"the content {self.digest} is not what was promised", why=why)
        os.makedirs(os.path.dirname(self._target), mode=0o700, exist_ok=True)
        os.fchmod(self._fd, 0o400)
        os.fsync(self._fd)
        os.rename(self._partial, self._target)
        _sync_directory(os.path.dirname(self._target))
        self.complete = True

    def __enter__(self) -> Ingest:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the lock. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Temporary:
    """A blob that is made here. It has no name until :meth:`commit`, so a crash leaves nothing."""

    def __init__(self, store: ContentStore, directory: str) -> None:
        self._store = store
        self._fd = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o400)

    def write(self, data: bytes | memoryview) -> None:
        """Append."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def copy(self, source: IO[bytes]) -> tuple[str, int]:
        """Append all of a file; returns its sha256 digest and its size."""
        digest, size = hashlib.sha256(), 0
        while data := source.read(_READ):
            digest.update(data)
            size += len(data)
            self.write(data)
        return f"sha256:{digest.hexdigest()}", size

    def commit(self, digest: str) -> None:
        """Make it visible under its digest, durably."""
        target = self._store.path(digest)
        os.fsync(self._fd)
        # Only with a directory's descriptor does os.link follow the link: open(2), O_TMPFILE.
        links = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.link(str(self._fd), target, src_dir_fd=links)
        except FileExistsError:
            return
        finally:
            os.close(links)
        _sync_directory(os.path.dirname(target))

    def close(self) -> None:
        """Let go of it. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _lock(partial: str, target: str, waiting: Callable[[], None]) -> int:
    """The locked partial file, or -1 if the blob is complete."""
    while True:
        if os.path.exists(target):
            return -1
        fd = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.stat(partial), os.fstat(fd)) and not os.path.exists(target):
                return fd
        except (BlockingIOError, FileNotFoundError):
            os.close(fd)
            waiting()
        except BaseException:
            os.close(fd)
            raise
        else:
            os.close(fd)


def _sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def hasher(digest: str) -> _Hash:
    """A hash of the digest's algorithm."""
    return hashlib.new(digest.partition(":")[0], usedforsecurity=True)


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """The digest of bytes."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def check(data: bytes, digest: str) -> None:
    """Raises :class:`~trimaran.errors.IntegrityError` unless the bytes have the digest."""
    actual = digest_of(data, digest.partition(":")[0])
    if actual != digest:
        raise IntegrityError(f"the content {digest} is not what was promised", why=f"it has {actual}")
