"""The engine on one root directory."""

from __future__ import annotations

from trimaran.engine.paths import Paths
from trimaran.engine.schema import AREA
from trimaran.state import Database


class Engine:
    """Everything that one root directory holds. Any number of engines may be at it at once.

    ``root`` is the directory (None: TRIMARAN_ROOT, else the default one). Use it in a ``with`` statement,
    or close it. Raises :class:`~trimaran.errors.TrimaranError` if the directory cannot be used.
    """

    def __init__(self, root: str | None = None) -> None:
        self.paths = Paths(root)
        self.paths.make()
        self.database = Database(self.paths.database, [AREA])

    def names(self) -> list[str]:
        """The names of all containers."""
        return [row[0] for row in self.database.connection().execute("SELECT name FROM container")]

    def close(self) -> None:
        """Let go of the database. Containers live on."""
        self.database.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
