"""run without --detach: the container is ours until it ends."""

from __future__ import annotations

import os

from trimaran.linux import _sys
from trimaran.runtime import creating, launch, lifecycle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.runtime.command import Context
    from trimaran.runtime.launch import Launched


def run(context: Context, id: str, bundle: str, options: creating.CreateOptions, *, keep: bool) -> int:
    """Create, start, wait and delete; returns the exit status of the program (128 + n for a signal)."""
    launched, warnings = creating.create(context.store, id, bundle, options)
    try:
        warnings += lifecycle.start(context.store, id)
        for warning in warnings:
            context.log.warning(warning)
        return wait(launched)
    finally:
        launch.discard(launched)
        if not keep:
            for warning in lifecycle.delete(context.store, id, force=True):
                context.log.warning(warning)


def wait(launched: Launched) -> int:
    """Pass signals on, and the terminal if there is one, until the process has ended."""
    from trimaran.runtime import relay

    first = launched.children[-1]
    relay.until_exit(first, launched.console)
    code = _sys.reap(first, True)
    os.close(first)
    launched.children.pop()
    assert code is not None
    return 128 - code if code < 0 else code
