"""Health checks: a command in the container that tells, now and then, whether it does its work."""

from __future__ import annotations

import threading
import time

from trimaran.engine import events
from trimaran.engine.options import Options
from trimaran.errors import NotFound, TrimaranError
from trimaran.state import text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from trimaran.engine.core import Core
    from trimaran.engine.store import Record

KEPT = 5
MAX_OUTPUT = 4096


class Check:
    """What is run, and when; times in seconds. Docker's defaults."""

    def __init__(self, command: list[str], options: Options, image: Mapping[str, Any]) -> None:
        self.command = command
        self.interval = options.health_interval or image.get("Interval", 0) / 1e9 or 30.0
        self.timeout = options.health_timeout or image.get("Timeout", 0) / 1e9 or 30.0
        self.start_period = options.health_start_period or image.get("StartPeriod", 0) / 1e9
        self.start_interval = options.health_start_interval or image.get("StartInterval", 0) / 1e9 or 5.0
        self.retries = options.health_retries or image.get("Retries", 0) or 3


def check_of(core: Core, record: Record) -> Check | None:
    """The check of a container: its options', else its image's; None if it has none."""
    options = Options(record.options)
    if options.no_healthcheck:
        return None
    try:
        image = core.images.get(record.image_digest).run_config.get("Healthcheck") or {}
    except NotFound:
        image = {}
    if options.health_cmd is not None:
        given = options.health_cmd
        command = ["/bin/sh", "-c", given] if isinstance(given, str) else list(given)
        return Check(command, options, image)
    kind, *words = image.get("Test") or ["NONE"]
    if kind == "CMD-SHELL" and words:
        return Check(["/bin/sh", "-c", words[0]], options, image)
    return Check(words, options, image) if kind == "CMD" and words else None


class Health:
    """The health of one run of one container."""

    def __init__(self, core: Core, record: Record, check: Check) -> None:
        self._core = core
        self._id = record.id
        self._check = check
        self.started = record.started
        self._failing = 0
        self._status = "starting"
        self._log: list[dict[str, Any]] = []
        self._thread: threading.Thread | None = None
        self._began = time.monotonic()
        self._due = self._began + self._pause()
        self._save()

    def _in_start(self) -> bool:
        return self._status == "starting" and time.monotonic() - self._began < self._check.start_period

    def _pause(self) -> float:
        return self._check.start_interval if self._in_start() else self._check.interval

    def look(self) -> None:
        """Begin a probe if one is due and none is under way."""
        if time.monotonic() < self._due or (self._thread and self._thread.is_alive()):
            return
        self._thread = threading.Thread(target=self._probe, daemon=True)
        self._thread.start()

    def _probe(self) -> None:
        from trimaran.engine.container import Container

        began = time.time_ns()
        try:
            result = Container(self._core, self._id).exec(
                self._check.command, timeout=self._check.timeout, output_limit=MAX_OUTPUT
            )
            code, output = result.exit_code, (result.stdout + result.stderr).decode("utf-8", "replace")
        except TrimaranError as error:
            code, output = 1, str(error)
        self._log = [*self._log, {"Start": began, "End": time.time_ns(), "ExitCode": code, "Output": output}][
            -KEPT:
        ]
        self._judge(code)
        self._due = time.monotonic() + self._pause()

    def _judge(self, code: int) -> None:
        before = self._status
        if code == 0:
            self._failing, self._status = 0, "healthy"
        elif not self._in_start():
            self._failing += 1
            if self._failing >= self._check.retries:
                self._status = "unhealthy"
        self._save()
        if self._status != before:
            with self._core.database.write() as connection:
                events.record(connection, "container", f"health_status: {self._status}", self._id, {})

    def _save(self) -> None:
        with self._core.database.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO health SELECT id, ?, ?, ? FROM container WHERE id = ?",
                (self._status, self._failing, text.dumps(self._log), self._id),
            )
