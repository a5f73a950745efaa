"""Asking before something is lost."""

from __future__ import annotations

import sys

from trimaran.cli.options import Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context

# Where -f means --force, as it does in docker's prune commands.
FILTER_OPTION = Option("--filter", metavar="KEY=VALUE", many=True, help="Only what matches")


def confirmed(context: Context, question: str, *, force: bool) -> bool:
    """Whether to go on: the answer of whoever is at the terminal. Without one, only ``force`` says yes."""
    if force:
        return True
    if not sys.stdin.isatty():
        context.note(f"trimaran: {question} nobody to ask (use --force)")
        return False
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
