"""The state database: one SQLite file, shared by every process that uses a root directory.

Each area (``image``, ``engine``, ``network``, ...) owns its tables and brings its migrations as an
:class:`Area`; a database is opened with the areas that its user needs. Any number of processes may be
at it (WAL); a writer waits up to :data:`BUSY_SECONDS` for another.

**Intents.** A step that changes the world outside the database (a mount, a file, an address) is preceded
by an intent row and followed by its completion. An intent whose owner is dead tells recovery what to
finish or undo::

    with database.intent("container.create", container_id, {"snapshot": key}):
        ...   # effects
    # the row is gone; after a crash in between it is found by database.abandoned()
"""

from __future__ import annotations

from trimaran.state.database import BUSY_SECONDS, Area, Database
from trimaran.state.intents import Intent, owner_identity

__all__ = ["BUSY_SECONDS", "Area", "Database", "Intent", "owner_identity"]
