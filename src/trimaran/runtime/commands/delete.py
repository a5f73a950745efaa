"""delete."""

from __future__ import annotations

from trimaran.runtime import lifecycle
from trimaran.runtime.command import Context, only_id, read_options
from trimaran.runtime.options import Option

OPTIONS = (Option("force f", "flag", "kill it first if it runs; an unknown container is no error"),)


def run(context: Context, name: str, words: list[str]) -> int:
    options, rest = read_options(name, words, OPTIONS, "[options] ID")
    for warning in lifecycle.delete(context.store, only_id(name, rest), force=options.given("force")):
        context.log.warning(warning)
    return 0
