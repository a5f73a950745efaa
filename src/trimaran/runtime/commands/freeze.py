"""pause and resume."""

from __future__ import annotations

from trimaran.runtime import lifecycle
from trimaran.runtime.command import Context, only_id, read_options


def run(context: Context, name: str, words: list[str]) -> int:
    _, rest = read_options(name, words, (), "ID")
    act = lifecycle.pause if name == "pause" else lifecycle.resume
    act(context.store, only_id(name, rest))
    return 0
