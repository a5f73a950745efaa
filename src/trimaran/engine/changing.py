"""Changing a container that exists: its name, its limits, whether it is frozen."""

from __future__ import annotations

from trimaran.engine import ending, events, limits
from trimaran.engine.options import Options
from trimaran.engine.store import check_name
from trimaran.errors import Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from trimaran.engine.core import Core


def pause(core: Core, id: str) -> None:
    """Freeze every process; returns when frozen. Raises Conflict."""
    _freeze(core, id, "running", "paused", "pause")


def unpause(core: Core, id: str) -> None:
    """Undo :func:`pause`. Raises Conflict."""
    _freeze(core, id, "paused", "running", "unpause")


def _freeze(core: Core, id: str, before: str, after: str, action: str) -> None:
    record = ending.refresh(core, core.containers.find(id))
    if record.state != before:
        raise Conflict(f"cannot {action} container {record.name}", why=f"it is {record.state}, not {before}")
    hull = core.isolations.get(record.isolation)
    if action == "pause":
        hull.pause(record.id)
    else:
        hull.resume(record.id)
    with core.database.write() as connection:
        core.containers.transition(record.id, (before,), state=after)
        events.record(connection, "container", action, record.id, {})


def rename(core: Core, id: str, name: str) -> None:
    """Give a container another name. Raises Conflict if it is taken, InvalidInput if it is none."""
    import sqlite3

    record = core.containers.find(id)
    check_name(name)
    try:
        with core.database.write() as connection:
            core.containers.change(record.id, name=name)
            events.record(
                connection, "container", "rename", record.id, {"oldName": record.name, "name": name}
            )
    except sqlite3.IntegrityError:
        raise Conflict(f"the name {name} is taken", hint="choose another") from None


def update(core: Core, id: str, changes: dict[str, Any]) -> None:
    """Change limits (memory, cpus, pids_limit, restart, ...) now and for the next start."""
    from trimaran.state import text as json

    record = ending.refresh(core, core.containers.find(id))
    options = Options({**record.options, **changes})
    resources = limits.resources(options)
    if record.state in ending.LIVE and resources:
        core.isolations.get(record.isolation).update(record.id, resources)
    with core.database.write() as connection:
        core.containers.change(record.id, options=json.dumps(options.given()))
        events.record(connection, "container", "update", record.id, {})
