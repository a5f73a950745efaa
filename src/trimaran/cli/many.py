"""Commands that do the same to each container that is named: errors of one do not spare the others."""

from __future__ import annotations

from trimaran.errors import TrimaranError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trimaran.cli.context import Context
    from trimaran.engine.container import Container


def each(context: Context, names: Sequence[str], act: Callable[[Container], object]) -> int:
    """Do it, and print each name (or what ``act`` returns); 1 if one failed."""
    failed = 0
    for name in names:
        try:
            said = act(context.engine().get(name))
        except TrimaranError as error:
            if len(names) == 1:
                raise
            context.note(f"trimaran: {error}")
            failed = 1
        else:
            context.print(name if said is None else said)
    return failed
