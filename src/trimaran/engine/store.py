"""Containers as rows of the state database: finding, adding, changing."""

from __future__ import annotations

import time

from trimaran.errors import Conflict, InvalidInput, NotFound
from trimaran.state import text as json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from sqlite3 import Row
    from typing import Any

    from trimaran.state import Database

ID_DIGITS = 64
SHORT = 12
MAX_NAME = 253


class Record:
    """One container as it was recorded. Times are nanoseconds since the epoch, 0 for never."""

    __slots__ = ("_row", "command", "labels", "options")

    def __init__(self, row: Row) -> None:
        self._row = row
        self.options: dict[str, Any] = json.loads(row["options"])
        self.labels: dict[str, str] = json.loads(row["labels"])
        self.command: list[str] = json.loads(row["command"])

    if TYPE_CHECKING:
        id: str
        name: str
        image: str
        image_id: str
        image_digest: str
        isolation: str
        state: str
        boot: str
        pid: int
        created: int
        started: int
        finished: int
        exit_code: int
        oom: int
        error: str
        restarts: int
        stopped: int
        lease: str
        mounts: str
    else:

        def __getattr__(self, name: str) -> Any:
            try:
                return self._row[name]
            except IndexError:
                raise AttributeError(name) from None


class Containers:
    """The container table of one state database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, name: str) -> Record:
        """The container of that name, id, or start of an id. Raises NotFound, or Conflict if not unique."""
        connection = self._database.connection()
        row = connection.execute("SELECT * FROM container WHERE name = ? OR id = ?", (name, name)).fetchone()
        if row:
            return Record(row)
        if name and set(name) <= set("0123456789abcdef"):
            end = name + "g"
            rows = connection.execute(
                "SELECT * FROM container WHERE id >= ? AND id < ? LIMIT 2", (name, end)
            ).fetchall()
            if len(rows) > 1:
                raise Conflict(f"'{name}' is the start of several containers' ids", hint="give more of it")
            if rows:
                return Record(rows[0])
        raise NotFound(f"no container is called {name!r}", hint="'trimaran ps -a' lists them")

    def list(self, where: str = "", values: Iterable[object] = ()) -> list[Record]:
        """Those for which the SQL condition holds, the newest first."""
        query = f"SELECT * FROM container {where and f'WHERE {where}'} ORDER BY created DESC"
        return [Record(row) for row in self._database.connection().execute(query, tuple(values))]

    def add(self, id: str, name: str, fields: Mapping[str, object]) -> None:
        """A new row. Raises Conflict if the name is taken."""
        import sqlite3

        columns = {"id": id, "name": name, "created": time.time_ns(), **fields}
        for key in ("options", "labels", "command"):
            columns[key] = json.dumps(columns[key])
        marks = ", ".join("?" * len(columns))
        try:
            self._database.connection().execute(
                f"INSERT INTO container ({', '.join(columns)}) VALUES ({marks})", tuple(columns.values())
            )
        except sqlite3.IntegrityError:
            holder = self.find(name)
            raise Conflict(
                f"the name {name} is taken",
                why=f"by container {holder.id[:SHORT]}",
                hint=f"remove that one (trimaran rm {name}), rename it, or choose another name",
            ) from None

    def change(self, id: str, **fields: object) -> bool:
        """Set columns of a row; False if it is gone."""
        names = ", ".join(f"{name} = ?" for name in fields)
        cursor = self._database.connection().execute(
            f"UPDATE container SET {names} WHERE id = ?", (*fields.values(), id)
        )
        return cursor.rowcount > 0

    def transition(self, id: str, before: tuple[str, ...], **fields: object) -> bool:
        """Set columns if the state is one of ``before``; False if it is not (someone was faster)."""
        names = ", ".join(f"{name} = ?" for name in fields)
        marks = ", ".join("?" * len(before))
        cursor = self._database.connection().execute(
            f"UPDATE container SET {names} WHERE id = ? AND state IN ({marks})",
            (*fields.values(), id, *before),
        )
        return cursor.rowcount > 0

    def remove(self, id: str) -> None:
        """Delete the row and what hangs on it. Idempotent."""
        self._database.connection().execute("DELETE FROM container WHERE id = ?", (id,))


def check_name(name: str) -> str:
    """A name that may be given to a container. Raises :class:`InvalidInput`."""
    allowed = name.replace("_", "a").replace("-", "a").replace(".", "a")
    if not (allowed.isascii() and allowed.isalnum() and name[0].isalnum() and len(name) <= MAX_NAME):
        raise InvalidInput(
            f"{name[:80]!r} is no name for a container", hint="letters, digits, and _.- after the first"
        )
    return name
