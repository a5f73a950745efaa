"""delete."""

from __future__ import annotations

from trimaran.errors import InvalidInput
from trimaran.runtime import lifecycle
from trimaran.runtime.command import Context, only_id, read_options
from trimaran.runtime.options import Option

OPTIONS = (
    Option("force f", "flag", "kill it first if it runs; an unknown container is no error"),
    Option("regex", "flag", "delete all whose id matches ID, a regular expression"),
)


def run(context: Context, name: str, words: list[str]) -> int:
    options, rest = read_options(name, words, OPTIONS, "[options] ID")
    id = only_id(name, rest)
    for found in _matching(context, id) if options.given("regex") else [id]:
        for warning in lifecycle.delete(context.store, found, force=options.given("force")):
            context.log.warning(warning)
    return 0


def _matching(context: Context, pattern: str) -> list[str]:
    import re

    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InvalidInput(f"{pattern!r} is no regular expression", why=str(error)) from None
    return [id for id in context.store.ids() if compiled.search(id)]
