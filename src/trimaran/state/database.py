"""Opening, migrating and using the state database (https://www.sqlite.org/wal.html)."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from trimaran.errors import TrimaranError
from trimaran.state import text as json
from trimaran.state.intents import Intent, owner_identity

BUSY_SECONDS = 30.0

_BASE = """
CREATE TABLE IF NOT EXISTS schema (area TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS intent (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, subject TEXT NOT NULL,
    payload TEXT NOT NULL, owner TEXT NOT NULL) STRICT;
"""


class Area:
    """The tables of one part of Trimaran. ``migrations[n]`` takes them from version n to n + 1."""

    def __init__(self, name: str, *migrations: str) -> None:
        self.name = name
        self.migrations = migrations


class Database:
    """One root directory's state. Safe to use from several threads: each has a connection of its own.

    Raises :class:`TrimaranError` if the file is not a database, or was written by a newer Trimaran.
    """

    def __init__(self, path: str, areas: Iterable[Area]) -> None:
        self.path = path
        self._areas = tuple(areas)
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._migrate()

    def connection(self) -> sqlite3.Connection:
        """This thread's connection, in autocommit mode; rows are :class:`sqlite3.Row`."""
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        return found if found is not None else self._connect()

    def _connect(self) -> sqlite3.Connection:
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            os.close(fd)
            connection = sqlite3.connect(
                self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            connection.row_factory = sqlite3.Row
            for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
                connection.execute(f"PRAGMA {pragma}")
        except (OSError, sqlite3.DatabaseError) as error:
            raise TrimaranError(
                f"cannot open the state database {self.path}",
                why=str(error),
                hint="choose another directory with --root, or restore the file from a backup",
            ) from error
        self._local.connection = connection
        with self._lock:
            self._opened.append(connection)
        return connection

    def _migrate(self) -> None:
        connection = self.connection()
        known = {}
        with _translated(self.path):
            if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'intent'").fetchone():
                known = dict(connection.execute("SELECT area, version FROM schema").fetchall())
            if all(known.get(area.name) == len(area.migrations) for area in self._areas):
                return
            with self.write():
                for statement in filter(str.strip, _BASE.split(";")):
                    connection.execute(statement)
                for area in self._areas:
                    self._migrate_area(connection, area)

    def _migrate_area(self, connection: sqlite3.Connection, area: Area) -> None:
        row = connection.execute("SELECT version FROM schema WHERE area = ?", (area.name,)).fetchone()
        version = row[0] if row else 0
        if version > len(area.migrations):
            raise TrimaranError(
                f"the state database {self.path} was written by a newer Trimaran",
                why=f"its {area.name} tables have version {version}, this one knows {len(area.migrations)}",
                hint="upgrade Trimaran, or choose another directory with --root",
            )
        for migration in area.migrations[version:]:
            for statement in filter(str.strip, migration.split(";")):
                connection.execute(statement)
        connection.execute("INSERT OR REPLACE INTO schema VALUES (?, ?)", (area.name, len(area.migrations)))

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the write lock from its start; nests (the outermost commits)."""
        connection = self.connection()
        if connection.in_transaction:
            yield connection
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    @contextmanager
    def intent(self, kind: str, subject: str, payload: dict[str, object] | None = None) -> Iterator[Intent]:
        """Announce a change of the outside world; the announcement is withdrawn when the block ends well.

        If the block raises, the row stays for recovery unless the caller withdrew it after undoing.
        """
        intent = self.announce(kind, subject, payload)
        yield intent
        self.withdraw(intent)

    def announce(self, kind: str, subject: str, payload: dict[str, object] | None = None) -> Intent:
        """Write an intent row owned by this process; with an open transaction, as part of it."""
        owner = owner_identity()
        cursor = self.connection().execute(
            "INSERT INTO intent (kind, subject, payload, owner) VALUES (?, ?, ?, ?)",
            (kind, subject, json.dumps(payload or {}), owner),
        )
        return Intent(cursor.lastrowid or 0, kind, subject, payload or {}, owner)

    def withdraw(self, intent: Intent) -> None:
        """Remove an intent row: its change is complete, or undone."""
        self.connection().execute("DELETE FROM intent WHERE id = ?", (intent.id,))

    def abandoned(self) -> list[Intent]:
        """Intents of processes that no longer run, oldest first."""
        rows = self.connection().execute("SELECT id, kind, subject, payload, owner FROM intent ORDER BY id")
        intents = [
            Intent(r["id"], r["kind"], r["subject"], json.loads(r["payload"]), r["owner"]) for r in rows
        ]
        return [intent for intent in intents if intent.abandoned()]

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            for connection in self._opened:
                connection.close()
            self._opened.clear()
        self._local = threading.local()


@contextmanager
def _translated(path: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise TrimaranError(f"cannot use the state database {path}", why=str(error)) from error
