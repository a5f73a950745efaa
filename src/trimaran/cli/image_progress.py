"""How transfers show their progress: bars on a terminal, plain lines elsewhere, JSON events for machines."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trimaran.image import progress as phases

if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.image.progress import Progress

SHORT = 12
WORDS = {
    phases.WAITING: "Waiting",
    phases.PULLING: "Downloading",
    phases.RETRYING: "Retrying",
    phases.UNPACKING: "Unpacking",
    phases.EXISTS: "Already there",
    phases.PUSHING: "Uploading",
    phases.MOUNTED: "Mounted from another repository",
    phases.DONE: "Done",
}


@contextmanager
def showing(context: Context, how: str) -> Iterator[Progress]:
    """The progress that ``--progress`` asks for; ``auto`` is bars if standard error is a terminal."""
    if how == "none":
        yield phases.Quiet()
    elif how == "json":
        yield Events()
    elif how == "bars" or (how == "auto" and context.progress()):
        with Bars() as bars:
            yield bars
    else:
        yield Lines()


def short(item: str) -> str:
    """A digest's first digits; a reference as it is."""
    algorithm, colon, digits = item.partition(":")
    return digits[:SHORT] if colon and algorithm in ("sha256", "sha512") else item


class Lines:
    """One line for each step of each item."""

    def __init__(self) -> None:
        self._last: dict[str, str] = {}
        self._lock = threading.Lock()

    def update(self, item: str, phase: str, done: int = 0, total: int = 0) -> None:
        """Write a line if the phase is a new one. Download and unpacking take turns, so only once each."""
        with self._lock:
            seen = self._last.get(item, "")
            if phase == seen or (phase == phases.PULLING and seen == phases.UNPACKING):
                return
            self._last[item] = phase
            if phase == phases.RESOLVING:
                sys.stderr.write(f"Resolving {item}\n")
            else:
                sys.stderr.write(f"{short(item)}: {WORDS.get(phase, phase)}\n")


class Events:
    """A JSON object a line: item, phase, done and total bytes; of each phase at most ten a second."""

    INTERVAL = 0.1

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def update(self, item: str, phase: str, done: int = 0, total: int = 0) -> None:
        """Write an event."""
        from json import dumps
        from time import monotonic

        now = monotonic()
        with self._lock:
            if now - self._last.get((item, phase), 0.0) < self.INTERVAL and (not total or done < total):
                return
            self._last[item, phase] = now
            sys.stderr.write(dumps({"item": item, "phase": phase, "done": done, "total": total}) + "\n")


class Bars:
    """A bar for each item, by rich."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        self._progress: Any = Progress(
            TextColumn("{task.fields[item]}"),
            TextColumn("{task.description:<13}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, Any] = {}
        self._lock = threading.Lock()

    def update(self, item: str, phase: str, done: int = 0, total: int = 0) -> None:
        """Move the item's bar; unpacking has no total of its own, so the download's bar stays."""
        if phase == phases.RESOLVING or "/" in item:
            return
        with self._lock:
            if item not in self._tasks:
                self._tasks[item] = self._progress.add_task("", item=short(item), total=total or None)
        changes: dict[str, Any] = {"description": WORDS.get(phase, phase)}
        if total:
            changes.update(completed=done, total=total)
        self._progress.update(self._tasks[item], **changes)

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
