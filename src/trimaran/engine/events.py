"""What happened, in the state database: written by whoever did it, read by ``trimaran events``."""

from __future__ import annotations

import time

from trimaran.state import text as json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from sqlite3 import Connection, Row
    from typing import Any

    from trimaran.engine.core import Core

KEPT = 10_000
"""The newest so many events are kept."""
_TRIM_EVERY = 256
_PAUSE_SECONDS = 0.05


class Event:
    """One event. ``time`` is nanoseconds since the epoch."""

    __slots__ = ("action", "actor", "attributes", "id", "time", "type")

    def __init__(self, row: Row) -> None:
        self.id: int = row["id"]
        self.time: int = row["time"]
        self.type: str = row["type"]
        self.action: str = row["action"]
        self.actor: str = row["actor"]
        self.attributes: dict[str, str] = json.loads(row["attributes"])


def record(connection: Connection, type: str, action: str, actor: str, attributes: dict[str, str]) -> None:
    """Write an event, as part of an open transaction."""
    cursor = connection.execute(
        "INSERT INTO event (time, type, action, actor, attributes) VALUES (?, ?, ?, ?, ?)",
        (time.time_ns(), type, action, actor, json.dumps(attributes)),
    )
    if cursor.lastrowid and cursor.lastrowid % _TRIM_EVERY == 0:
        connection.execute("DELETE FROM event WHERE id <= ?", (cursor.lastrowid - KEPT,))


def stream(
    core: Core, *, since: int = 0, until: int = 0, follow: Callable[[], bool] | None = None
) -> Iterator[Event]:
    """Events between two times, the oldest first; with ``follow``, on and on until it returns False."""
    last = 0
    while True:
        going_on = follow is not None and follow() and not (until and time.time_ns() > until)
        query = "SELECT * FROM event WHERE id > ? AND time >= ? AND (? = 0 OR time <= ?) ORDER BY id"
        for row in core.database.connection().execute(query, (last, since, until, until)).fetchall():
            last = row["id"]
            yield Event(row)
        if not going_on:
            return
        time.sleep(_PAUSE_SECONDS)


def newest(core: Core) -> int:
    """The id of the last event."""
    row = core.database.connection().execute("SELECT max(id) FROM event").fetchone()
    found: Any = row[0]
    return found or 0
