"""What every command is given: the global options, the engine, and where to print."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.engine import Engine


class Context:
    """One run of the command. ``root`` is --root (None: the default directory)."""

    def __init__(self, *, root: str | None = None, debug: bool = False) -> None:
        self.root = root
        self.debug = debug
        self._engine: Engine | None = None

    def engine(self) -> Engine:
        """The engine on the chosen root directory; opened at the first call, closed by the frame."""
        if self._engine is None:
            from trimaran.engine import Engine

            self._engine = Engine(self.root)
        return self._engine

    def print(self, *values: object, end: str = "\n") -> None:
        """A line for standard output."""
        sys.stdout.write(" ".join(map(str, values)) + end)

    def note(self, text: str) -> None:
        """A line for people, on standard error."""
        sys.stderr.write(f"{text}\n")

    def progress(self) -> bool:
        """Whether moving progress may be shown: standard error is a terminal that can."""
        return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"

    def colour(self) -> bool:
        """Whether standard output may be coloured (https://no-color.org)."""
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def close(self) -> None:
        """Close what was opened."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None
