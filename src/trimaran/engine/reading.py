"""Reading from a container: its log."""

from __future__ import annotations

from trimaran.engine import ending, starting
from trimaran.engine.options import Options
from trimaran.errors import NotFound, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from trimaran.engine.core import Core
    from trimaran.monitor.logs import Record


def logs(
    core: Core, id: str, *, follow: bool = False, since: str = "", until: str = "", tail: int | None = None
) -> Iterator[Record]:
    """The records of a container's log. Raises Unsupported if it has none."""
    from trimaran.monitor.logs import LogReader

    record = core.containers.find(id)
    target, _, _ = starting.log_target(Options(record.options), core.paths.container(record.id))
    if target == "none":
        raise Unsupported(f"container {record.name} keeps no log", why="its log driver is none")

    def alive() -> bool:
        try:
            return ending.refresh(core, core.containers.find(record.id)).state in (*ending.LIVE, "starting")
        except NotFound:
            return False

    return LogReader(target).records(since=since, until=until, tail=tail, alive=alive if follow else None)
