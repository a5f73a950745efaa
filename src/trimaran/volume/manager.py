"""The volumes of one root directory: to create, list and remove them, and to give them to containers.

    DIRECTORY/NAME/data      a volume's files: what the container sees
    DIRECTORY/NAME/filling   there while the image's files are copied in; they are copied anew if it stays

Any number of processes may be at them. A volume that a container uses is never removed.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from trimaran.errors import Conflict, InvalidInput, KernelError, NotFound
from trimaran.linux import _sys
from trimaran.linux.mounts import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS
from trimaran.state import Database
from trimaran.volume.copyup import copy_up
from trimaran.volume.model import MountRequest, Volume
from trimaran.volume.oci import special_to_oci, to_oci
from trimaran.volume.parse import check_volume_name

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPTIONS = ("type", "device", "o")


class Prepared:
    """A container's mounts, ready for its configuration. Keep it open until the container is created:
    sources below a volume are named by descriptors of this process, so that nobody can swap them.
    """

    def __init__(self, by_descriptor: bool = True) -> None:
        self.mounts: list[dict[str, Any]] = []
        self._by_descriptor = by_descriptor
        self._stack = ExitStack()

    def hold(self, fd: int) -> str:
        """Keep a descriptor; the path by which others can open it."""
        self._stack.callback(os.close, fd)
        path = f"/proc/{os.getpid()}/fd/{fd}"
        return path if self._by_descriptor else os.readlink(path)

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Prepared:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class VolumeManager:
    """The volumes whose rows are in ``database`` and whose files are below ``directory`` (mode 0700)."""

    def __init__(
        self, database: Database, directory: str, *, step: Callable[[str], None] = lambda _: None
    ) -> None:
        self._database = database
        self._directory = directory
        self._step = step

    def create(
        self, name: str = "", *, labels: Mapping[str, str] = {}, options: Mapping[str, str] = {}
    ) -> Volume:
        """Create a volume; without a name it gets a random one. One that exists with the same options is it.

        ``options`` are those of mount(8): ``type``, ``device`` and ``o``, for a volume that is a file
        system of its own. Raises InvalidInput, Conflict.
        """
        unknown = [key for key in options if key not in _OPTIONS]
        if unknown:
            raise InvalidInput(f"unknown volume option {unknown[0]!r}", hint=f"known: {', '.join(_OPTIONS)}")
        anonymous = not name
        name = check_volume_name(name) if name else os.urandom(32).hex()
        with self._database.write() as connection:
            row = (name, time.time(), anonymous, json.dumps(dict(labels)), json.dumps(dict(options)))
            connection.execute(
                "INSERT OR IGNORE INTO volume (name, created, anonymous, labels, options)"
                " VALUES (?, ?, ?, ?, ?)",
                row,
            )
            volume = self.get(name)
            if options and volume.options != dict(options):
                raise Conflict(
                    f"a volume named {name} exists with other options",
                    hint=f"see it with: trimaran volume inspect {name}",
                )
        os.close(self._open(name))
        return volume

    def get(self, name: str) -> Volume:
        """The volume of that name. Raises NotFound."""
        found = self._load("name = ?", name)
        if not found:
            raise NotFound(f"no volume {name}", hint="list them with: trimaran volume ls")
        return found[0]

    def volumes(self) -> list[Volume]:
        """All volumes, by name."""
        return self._load("1")

    def _load(self, where: str, *values: str) -> list[Volume]:
        connection = self._database.connection()
        rows = connection.execute(f"SELECT * FROM volume WHERE {where} ORDER BY name", values).fetchall()
        return [self._volume(connection, row) for row in rows]

    def _volume(self, connection: sqlite3.Connection, row: sqlite3.Row) -> Volume:
        users = connection.execute(
            "SELECT container_id FROM volume_use WHERE volume = ? ORDER BY container_id", (row["name"],)
        )
        return Volume(
            name=row["name"],
            path=os.path.join(self._directory, row["name"], "data"),
            created=row["created"],
            anonymous=bool(row["anonymous"]),
            labels=json.loads(row["labels"]),
            options=json.loads(row["options"]),
            used_by=tuple(user[0] for user in users.fetchall()),
        )

    def remove(self, name: str, *, force: bool = False) -> None:
        """Remove a volume and its files. Raises Conflict if one uses it, NotFound unless ``force``."""
        with self._database.write() as connection:
            if force and not self._load("name = ?", name):
                return
            volume = self.get(name)
            if volume.used_by:
                users = ", ".join(user[:12] for user in volume.used_by)
                raise Conflict(
                    f"volume {name} is in use", why=f"by container {users}", hint="remove that first"
                )
            connection.execute("UPDATE volume SET removing = 1 WHERE name = ?", (name,))
            intent = self._database.announce("volume.remove", name)
        self._erase(name)
        self._database.withdraw(intent)

    def _erase(self, name: str) -> None:
        self._step(f"remove volume {name}")
        directory = os.open(self._directory, _DIRECTORY)
        try:
            _sys.remove_tree(directory, os.fsencode(name))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise KernelError("remove", error.errno or 0, f"{self._directory}/{name}") from error
        finally:
            os.close(directory)
        self._database.connection().execute("DELETE FROM volume WHERE name = ? AND removing", (name,))

    def prune(self, *, all: bool = False, chosen: Callable[[Volume], bool] = lambda _: True) -> list[Volume]:
        """Remove the volumes that no container uses: those without a given name, or ``all``."""
        removed = []
        for volume in self.volumes():
            if (all or volume.anonymous) and not volume.used_by and chosen(volume):
                try:
                    self.remove(volume.name)
                except (Conflict, NotFound):
                    # Another process was faster, with using or with removing it.
                    continue
                removed.append(volume)
        return removed

    def use(self, container_id: str, requests: Iterable[MountRequest]) -> list[MountRequest]:
        """Count a container among the users of its volumes, which are created where they are missing.

        The same requests come back, with names for the volumes that had none. Raises Conflict.
        """
        settled = []
        for request in requests:
            if request.kind == "volume":
                from dataclasses import replace

                volume = self.create(request.source, labels=request.labels, options=request.options)
                request = replace(request, source=volume.name)
                self._count(container_id, volume.name)
            settled.append(request)
        return settled

    def _count(self, container_id: str, name: str) -> None:
        with self._database.write() as connection:
            row = connection.execute("SELECT removing FROM volume WHERE name = ?", (name,)).fetchone()
            if row is None or row[0]:
                raise Conflict(f"volume {name} is being removed", hint="try again")
            connection.execute("INSERT OR IGNORE INTO volume_use VALUES (?, ?)", (name, container_id))

    def release(self, container_id: str, *, remove_anonymous: bool = False) -> None:
        """A container is gone. Its volumes stay, but those that were made for it alone may go with it."""
        used = "name IN (SELECT volume FROM volume_use WHERE container_id = ?)"
        volumes = self._load(used, container_id)
        self._database.connection().execute("DELETE FROM volume_use WHERE container_id = ?", (container_id,))
        for volume in volumes:
            if remove_anonymous and volume.anonymous and volume.used_by == (container_id,):
                try:
                    self.remove(volume.name, force=True)
                except Conflict:
                    # Somebody has begun to use it.
                    continue

    def prepare(
        self,
        requests: Sequence[MountRequest],
        image_root: Callable[[], int] | None,
        *,
        image_layers: Callable[[str], Sequence[str]] | None = None,
        by_descriptor: bool = True,
    ) -> Prepared:
        """Settle the sources of the mounts that :meth:`use` returned; the caller closes what it gets.

        ``image_root`` opens the container's root as the image has it, for volumes that are to be filled
        from it; the descriptor is closed here. ``image_layers`` finds the layer directories of an image, the
        uppermost first. Without ``by_descriptor``, sources are named by path, for a runtime that cannot
        take them otherwise. Raises NotFound, InvalidInput or KernelError.
        """
        prepared = Prepared(by_descriptor)
        try:
            for request in requests:
                if request.kind == "volume":
                    prepared.mounts.append(self._volume_mount(request, image_root, prepared))
                elif request.kind == "bind":
                    prepared.mounts.append(to_oci(request, _bind_source(request)))
                elif request.kind == "tmpfs":
                    prepared.mounts.append(to_oci(request, ""))
                elif image_layers is not None:
                    from trimaran.volume.image import image_mount

                    prepared.mounts.append(image_mount(request, image_layers(request.source)))
        except BaseException:
            prepared.close()
            raise
        return prepared

    def _volume_mount(
        self, request: MountRequest, image_root: Callable[[], int] | None, prepared: Prepared
    ) -> dict[str, Any]:
        volume = self.get(request.source)
        if volume.options:
            return special_to_oci(request, dict(volume.options))
        data = self._open(volume.name)
        try:
            if request.copy and not request.subpath and image_root is not None:
                self._fill(volume.name, data, request.target, image_root)
            if not request.subpath:
                return to_oci(request, volume.path)
            return to_oci(request, prepared.hold(_open_subpath(data, request)))
        finally:
            os.close(data)

    def _open(self, name: str) -> int:
        """The directory of a volume's files, made if it is missing."""
        path = os.path.join(self._directory, name)
        try:
            for directory, mode in ((path, 0o701), (f"{path}/data", 0o755)):
                if not os.path.isdir(directory):
                    os.makedirs(directory, mode, exist_ok=True)
                    os.chmod(directory, mode)
            return os.open(f"{path}/data", _DIRECTORY)
        except OSError as error:
            raise KernelError("open", error.errno or 0, f"{path}/data") from error

    def _fill(self, name: str, data: int, target: str, image_root: Callable[[], int]) -> None:
        """Copy the image's files into an empty volume; after a crash in between, from the start."""
        marker = os.path.join(self._directory, name, "filling")
        if os.listdir(data) and not os.path.exists(marker):
            return
        fcntl.flock(data, fcntl.LOCK_EX)
        try:
            if os.path.exists(marker):
                for entry in os.listdir(data):
                    _sys.remove_tree(data, os.fsencode(entry))
            elif os.listdir(data):
                return
            os.close(os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._step(f"fill volume {name}")
            root = image_root()
            try:
                copy_up(root, target, data)
            finally:
                os.close(root)
            os.unlink(marker)
        finally:
            fcntl.flock(data, fcntl.LOCK_UN)

    def recover(self, live: Callable[[str], bool] | None = None) -> list[str]:
        """Finish what dead processes began; with ``live``, forget uses by containers that it denies."""
        done = []
        for intent in self._database.abandoned():
            if intent.kind == "volume.remove":
                self._erase(intent.subject)
                self._database.withdraw(intent)
                done.append(f"removed volume {intent.subject}")
        if live is not None:
            connection = self._database.connection()
            users = connection.execute("SELECT DISTINCT container_id FROM volume_use").fetchall()
            for (container_id,) in users:
                if not live(container_id):
                    self.release(container_id)
                    done.append(f"released the volumes of container {container_id}")
        return done


def _bind_source(request: MountRequest) -> str:
    path = os.path.abspath(request.source)
    if not os.path.lexists(path):
        if not request.create_source:
            raise NotFound(f"{path} does not exist", hint="create it, or use -v, which does")
        try:
            os.makedirs(path, 0o755, exist_ok=True)
        except OSError as error:
            raise KernelError("mkdir", error.errno or 0, path) from error
    return path


def _open_subpath(data: int, request: MountRequest) -> int:
    """A descriptor of a file or directory inside a volume; no link leads out of it."""
    how = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS
    try:
        return _sys.openat2(data, os.fsencode(request.subpath), os.O_PATH | os.O_CLOEXEC, 0, how)
    except OSError as error:
        what = f"the subpath {request.subpath} of volume {request.source}"
        if error.errno == errno.EXDEV:
            raise InvalidInput(f"{what} leads out of the volume", why="a link in it points outside") from None
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise NotFound(f"{what} does not exist") from None
        raise KernelError("openat2", error.errno or 0, request.subpath, message=what) from error
