"""Lists of containers, as ``ps`` shows them, and what filters mean."""

from __future__ import annotations

import time

from trimaran.engine import ending
from trimaran.engine.options import Options
from trimaran.engine.store import SHORT
from trimaran.engine.texts import ago
from trimaran.engine.texts import size as size_text
from trimaran.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from trimaran.engine.core import Core
    from trimaran.engine.store import Record

FILTERS = (
    *("id", "name", "label", "status", "exited", "ancestor", "before", "since", "network", "volume"),
    *("isolation", "health", "publish"),
)
MAX_COMMAND = 20


def parse_filters(given: Sequence[str]) -> dict[str, list[str]]:
    """``KEY=VALUE`` texts by key. Raises :class:`InvalidInput` for an unknown key."""
    found: dict[str, list[str]] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if key not in FILTERS or not equals:
            raise InvalidInput(
                f"'{text}' is no filter", hint=f"KEY=VALUE with KEY one of {', '.join(FILTERS)}"
            )
        found.setdefault(key, []).append(value)
    return found


def select(core: Core, *, all: bool, filters: Mapping[str, Sequence[str]]) -> list[Record]:
    """The containers that are meant, the newest first. Values of one key are alternatives (but of label)."""
    records = core.containers.list("" if all else "state IN ('running', 'paused', 'starting')")
    records = [ending.refresh(core, record) for record in records]
    if not all:
        records = [record for record in records if record.state in (*ending.LIVE, "starting")]
    bounds = {
        key: core.containers.find(filters[key][-1]).created for key in ("before", "since") if filters.get(key)
    }
    return [r for r in records if _within(r, bounds) and _matches(core, r, filters)]


def _within(record: Record, bounds: Mapping[str, int]) -> bool:
    return record.created < bounds.get("before", 1 << 63) and record.created > bounds.get("since", -1)


def _matches(core: Core, record: Record, filters: Mapping[str, Sequence[str]]) -> bool:
    options = Options(record.options)
    tests: dict[str, Callable[[str], bool]] = {
        "id": lambda v: record.id.startswith(v),
        "name": lambda v: v in record.name,
        "status": lambda v: record.state == v,
        "exited": lambda v: record.state == "exited" and str(record.exit_code) == v,
        "ancestor": lambda v: (
            v in (record.image, record.image_id) or record.image_id.startswith(f"sha256:{v}")
        ),
        "network": lambda v: v in options.networks,
        "volume": lambda v: any(v in text.split(":") for text in options.volumes),
        "isolation": lambda v: record.isolation == v,
        "health": lambda v: health(core, record) == v,
        "publish": lambda v: any(v in text for text in options.ports),
    }
    for key, values in filters.items():
        if key == "label" and not all(_labelled(record, value) for value in values):
            return False
        if key in tests and not any(tests[key](value) for value in values):
            return False
    return True


def _labelled(record: Record, text: str) -> bool:
    key, equals, value = text.partition("=")
    return key in record.labels and (not equals or record.labels[key] == value)


def rows(
    core: Core,
    *,
    all: bool,
    filters: Mapping[str, Sequence[str]],
    truncate: bool = True,
    last: int = 0,
    size: bool = False,
) -> list[dict[str, Any]]:
    """What ``ps`` prints of each: docker's names for it."""
    records = select(core, all=all, filters=filters)
    records = records[:last] if last else records
    published = _ports(core) if records else {}
    now = time.time_ns()
    return [_row(core, r, now, published.get(r.id, ""), truncate=truncate, size=size) for r in records]


def _row(core: Core, record: Record, now: int, ports: str, *, truncate: bool, size: bool) -> dict[str, Any]:
    options = Options(record.options)
    command = " ".join(record.command)
    if truncate and len(command) > MAX_COMMAND:
        command = command[: MAX_COMMAND - 1] + "…"
    row = {
        "ID": record.id[:SHORT] if truncate else record.id,
        "Image": record.image,
        "Command": f'"{command}"',
        "CreatedAt": time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(record.created // 10**9)),
        "RunningFor": f"{ago((now - record.created) / 1e9)} ago",
        "Status": status(core, record, now),
        "State": record.state,
        "Ports": ports,
        "Names": record.name,
        "Labels": ",".join(f"{key}={value}" for key, value in record.labels.items()),
        "Mounts": ",".join([*options.volumes, *options.mounts]),
        "Networks": ",".join(options.networks),
        "Isolation": record.isolation,
        "Pid": record.pid,
    }
    if size:
        row["Size"] = size_text(core.snapshots.usage(record.id).bytes)
    return row


def status(core: Core, record: Record, now: int) -> str:
    """``Up 5 minutes (healthy)``, ``Exited (0) 2 hours ago``, ``Created``."""
    if record.state == "exited":
        return f"Exited ({record.exit_code}) {ago((now - record.finished) / 1e9)} ago"
    if record.state not in ending.LIVE:
        return record.state.capitalize()
    text = f"Up {ago((now - record.started) / 1e9)}"
    condition = health(core, record)
    notes = [note for note in (condition, "Paused" if record.state == "paused" else "") if note]
    return f"{text} ({', '.join(notes)})" if notes else text


def health(core: Core, record: Record) -> str:
    """``starting``, ``healthy`` or ``unhealthy``; "" for a container without a health check."""
    query = "SELECT status FROM health WHERE container = ?"
    row = core.database.connection().execute(query, (record.id,)).fetchone()
    return row[0] if row else ""


def _ports(core: Core) -> dict[str, str]:
    connection = core.database.connection()
    if not connection.execute("SELECT 1 FROM network_port LIMIT 1").fetchone():
        return {}
    found: dict[str, list[str]] = {}
    for port in core.networks.ports():
        found.setdefault(port.container_id, []).append(str(port))
    return {id: ", ".join(sorted(ports)) for id, ports in found.items()}
