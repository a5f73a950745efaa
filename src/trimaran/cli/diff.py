"""trimaran diff"""

from __future__ import annotations

from trimaran.cli.options import Argument, Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments
    from trimaran.snapshot import Change

LETTERS = {"added": "A", "changed": "C", "deleted": "D"}


def run(context: Context, args: Arguments) -> int | None:
    import os

    from trimaran.engine.files import NAMES

    core = context.engine().core
    ours = {os.fsencode(f"/etc/{name}") for name in NAMES}
    for change in own_changes(core.snapshots.changes(core.containers.find(args.container).id), ours):
        context.print(f"{LETTERS[change.kind]} {os.fsdecode(change.path)}")
    return None


def own_changes(changes: Iterable[Change], ours: Collection[bytes]) -> list[Change]:
    """Without the empty files that the engine has made to mount its own on, and directories with no more."""
    kept = [change for change in changes if not (change.kind == "added" and change.path in ours)]
    above = {path.rpartition(b"/")[0] for path in ours}
    return [
        change
        for change in kept
        if change.path not in above or any(c.path.startswith(change.path + b"/") for c in kept)
    ]


COMMAND = Command(
    run,
    arguments=[Argument("CONTAINER")],
    examples=[("diff web", "What the container has added (A), changed (C) and deleted (D)")],
)
