"""The containers of one state root: a directory each, with its state, lock and start socket.

    ROOT/ID/state.json   what the runtime knows of it (replaced as a whole)
    ROOT/ID/config.json  the configuration it was made from
    ROOT/ID/start        socket on which its first process waits; gone once it has been started
    ROOT/ID/lock         flock(2) of whoever changes the container

The root has mode 0700: who can enter it can control the containers.
"""

from __future__ import annotations

import os

from trimaran.errors import Conflict, InvalidInput, NotFound, TrimaranError
from trimaran.linux import files
from trimaran.spec import jsonio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

MAX_ID = 255
_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")


def check_id(id: str) -> None:
    """Raises InvalidInput for what cannot be the name of a directory below the root."""
    if not id or len(id) > MAX_ID or not _ID_CHARACTERS.issuperset(id) or id in (".", ".."):
        shown = id if len(id) <= 60 else f"{id[:57]}..."
        raise InvalidInput(
            f"invalid container ID {shown!r}",
            why="an id has 1 to 255 letters, digits and _ + - .",
            hint="choose another id",
        )


class Entry:
    """One container's directory, open, and locked if asked for. Use it as a context manager."""

    __slots__ = ("_lock", "directory", "id", "path")

    def __init__(self, id: str, path: str, directory: int) -> None:
        self.id = id
        self.path = path
        self.directory = directory
        self._lock = -1

    def lock(self) -> None:
        """Wait until nobody else changes the container."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._lock = os.open("lock", flags, 0o600, dir_fd=self.directory)
        files.lock(self._lock)

    def close(self) -> None:
        for fd in (self._lock, self.directory):
            if fd >= 0:
                os.close(fd)
        self._lock = self.directory = -1

    def __enter__(self) -> Entry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self) -> dict[str, Any]:
        """The saved state. Raises NotFound if the container was never made in full."""
        try:
            state = jsonio.parse(files.read_whole(self.directory, "state.json"))
        except FileNotFoundError:
            raise _no_container(self.id) from None
        if not isinstance(state, dict):
            raise TrimaranError(f"the state of container {self.id} is damaged", hint="delete it with --force")
        return state

    def write(self, state: dict[str, object]) -> None:
        """Save the state, as a whole."""
        files.write_whole(self.directory, "state.json", jsonio.dump(state).encode())

    def config_bytes(self) -> bytes:
        """The configuration that the container was made from, as it was given."""
        return files.read_whole(self.directory, "config.json")

    def config(self) -> Any:
        """The same as parsed JSON."""
        return jsonio.parse(self.config_bytes())


def _no_container(id: str) -> NotFound:
    return NotFound(f"container {id} does not exist", hint="list shows those that do")


class Store:
    """All containers of one state root."""

    __slots__ = ("root",)

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)

    def create(self, id: str) -> Entry:
        """A new, locked entry. Raises Conflict if the id is taken, InvalidInput if it is no id."""
        check_id(id)
        try:
            os.makedirs(self.root, 0o700, exist_ok=True)
            path = f"{self.root}/{id}"
            os.mkdir(path, 0o700)
        except FileExistsError:
            raise Conflict(
                f"container {id} exists already", hint="choose another id, or delete that container first"
            ) from None
        except OSError as error:
            raise TrimaranError(
                f"cannot make the state directory {error.filename}",
                why=os.strerror(error.errno or 0),
                hint="choose another with --root",
            ) from error
        entry = self._open(id, path)
        entry.lock()
        return entry

    def open(self, id: str, *, locked: bool = False) -> Entry:
        """An existing entry. Raises NotFound."""
        check_id(id)
        entry = self._open(id, f"{self.root}/{id}")
        if locked:
            entry.lock()
        return entry

    def _open(self, id: str, path: str) -> Entry:
        try:
            directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError):
            raise _no_container(id) from None
        return Entry(id, path, directory)

    def remove(self, entry: Entry) -> None:
        """Remove an entry and all files that belong in it."""
        for name in os.listdir(entry.directory):
            os.unlink(name, dir_fd=entry.directory)
        try:
            os.rmdir(entry.path)
        except FileNotFoundError:
            pass

    def ids(self) -> Iterator[str]:
        """Ids of all entries, sorted."""
        try:
            names = os.listdir(self.root)
        except FileNotFoundError:
            return iter(())
        return iter(sorted(names))
