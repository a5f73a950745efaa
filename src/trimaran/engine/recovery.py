"""Repairing what processes that were killed have left half done. Every step may be killed itself."""

from __future__ import annotations

import os

from trimaran.engine import ending
from trimaran.errors import NotFound, TrimaranError
from trimaran.state.intents import owner_alive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.engine.core import Core
    from trimaran.state import Intent


def recover(core: Core) -> list[str]:
    """Finish or undo what was left; what was done, in words. Cheap when there is nothing to do."""
    done: list[str] = []
    intents = core.database.abandoned() if _any(core, "SELECT 1 FROM intent LIMIT 1") else []
    for intent in intents:
        if intent.kind.startswith("container."):
            done += _one(core, intent)
    if any(intent.kind.startswith("snapshot.") for intent in intents):
        core.snapshots.recover()
        done.append("removed unfinished layers")
    if any(intent.kind.startswith(("network.", "dns.")) for intent in intents):
        done += core.networks.recover()
    if any(intent.kind.startswith("volume.") for intent in intents):
        from trimaran.engine import storage

        done += storage.manager(core).recover()
    done += _lost_leases(core)
    done += _orphans(core)
    done += _to_be_removed(core)
    return done + _other_boots(core)


def _any(core: Core, query: str, *values: object) -> bool:
    return core.database.connection().execute(query, values).fetchone() is not None


def _one(core: Core, intent: Intent) -> list[str]:
    try:
        record = core.containers.find(intent.subject)
    except NotFound:
        core.database.withdraw(intent)
        return []
    if intent.kind == "container.remove":
        ending.finish_removal(core, record, volumes=bool(intent.payload.get("volumes")))
        return [f"removed container {record.name}"]
    return _unfinished_start(core, intent, record.id)


def _unfinished_start(core: Core, intent: Intent, id: str) -> list[str]:
    """Whoever started it may have come as far as a running process: nobody has been told, so it is undone."""
    record = core.containers.find(id)
    if record.state == "starting":
        ending.clear(core, record, force=True)
        ending.clear_state(core, id)
        state = "exited" if record.started else "created"
        with core.database.write():
            core.containers.transition(
                id, ("starting",), state=state, pid=0, error="its start was interrupted"
            )
            core.database.withdraw(intent)
    else:
        core.database.withdraw(intent)
    return [f"undid the start of container {record.name}"]


def _lost_leases(core: Core) -> list[str]:
    """Containers whose owner has died are removed: they were to live with it."""
    done = []
    for record in core.containers.list("lease != ''"):
        if owner_alive(record.lease):
            continue
        try:
            ending.remove(core, record.id, force=True, volumes=True)
            done.append(f"removed container {record.name}, whose owner has ended")
        except TrimaranError:
            # Another process is at it, or it is of another boot: the next look finds it again.
            continue
    return done


def _to_be_removed(core: Core) -> list[str]:
    """Containers that were to be removed when they had exited, by someone who is no longer there."""
    done = []
    for record in core.containers.list("state = 'exited' AND options LIKE '%\"auto_remove\": true%'"):
        try:
            ending.remove(core, record.id, volumes=True)
            done.append(f"removed container {record.name}, which has exited")
        except TrimaranError:
            # Whoever runs it is about to remove it, or has.
            continue
    return done


def _orphans(core: Core) -> list[str]:
    """Directories of containers whose creation was cut off: its transaction has never been committed."""
    if not _without_rows(core):
        return []
    done = []
    # Creating makes the directory while it holds the write lock: with that in our hands, none is being made.
    with core.database.write():
        for id in _without_rows(core):
            ending.remove_directory(core, id)
            core.snapshots.remove(id)
            done.append(f"removed the unfinished container {id[:12]}")
    return done


def _without_rows(core: Core) -> set[str]:
    names = set(os.listdir(core.paths.containers))
    rows = core.database.connection().execute(
        "SELECT id FROM container UNION SELECT id FROM snapshot_container"
    )
    return names - {row[0] for row in rows} if names else names


def _other_boots(core: Core) -> list[str]:
    """What ran when the host went down has ended."""
    done: list[str] = []
    states = "state IN ('running', 'paused', 'starting') AND boot != ?"
    if not _any(core, f"SELECT 1 FROM container WHERE {states} LIMIT 1", core.boot):
        return done
    for record in core.containers.list(states, (core.boot,)):
        ending.settle(core, record)
        core.containers.transition(record.id, ("starting",), state="created")
        done.append(f"container {record.name} ended with the host")
    return done
