"""start."""

from __future__ import annotations

from trimaran.runtime import lifecycle
from trimaran.runtime.command import Context, only_id, read_options


def run(context: Context, name: str, words: list[str]) -> int:
    _, rest = read_options(name, words, (), "ID")
    for warning in lifecycle.start(context.store, only_id(name, rest)):
        context.log.warning(warning)
    return 0
