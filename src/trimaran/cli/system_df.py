"""trimaran system df"""

from __future__ import annotations

from trimaran.cli.options import Command
from trimaran.cli.output import FORMAT_OPTION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


COLUMNS = {
    "TYPE": "Type",
    "TOTAL": "TotalCount",
    "ACTIVE": "Active",
    "SIZE": "Size",
    "RECLAIMABLE": "Reclaimable",
}


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.cli.output import show_list, size
    from trimaran.engine import storage

    engine = context.engine()
    core = engine.core
    images = engine.images.usage()
    containers = [(record, core.snapshots.usage(record.id).bytes) for record in core.containers.list()]
    ended = [taken for record, taken in containers if record.state not in ("running", "paused")]
    volumes = [(volume, _tree(volume.path)) for volume in storage.manager(core).volumes()]
    unused = [taken for volume, taken in volumes if not volume.used_by]
    taken = sum(each for _, each in containers)
    kept = sum(each for _, each in volumes)
    rows = [
        _row("Images", images.images, images.active, size(images.bytes), size(images.reclaimable)),
        _row("Containers", len(containers), len(containers) - len(ended), size(taken), size(sum(ended))),
        _row("Local Volumes", len(volumes), len(volumes) - len(unused), size(kept), size(sum(unused))),
    ]
    show_list(context, rows, COLUMNS, format=args.format)
    return None


def _row(kind: str, total: int, active: int, size: str, reclaimable: str) -> dict[str, object]:
    return {"Type": kind, "TotalCount": total, "Active": active, "Size": size, "Reclaimable": reclaimable}


def _tree(path: str) -> int:
    """Bytes allocated below a directory."""
    import os

    total = 0
    for directory, _, files in os.walk(path):
        for name in files:
            try:
                total += os.lstat(os.path.join(directory, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


COMMAND = Command(run, options=[FORMAT_OPTION], description="Images: their blobs, as transferred.")
