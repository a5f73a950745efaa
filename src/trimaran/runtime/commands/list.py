"""list."""

from __future__ import annotations

from trimaran.errors import InvalidInput, NotFound
from trimaran.runtime import lifecycle
from trimaran.runtime.command import Context, read_options
from trimaran.runtime.options import Option
from trimaran.spec import jsonio

OPTIONS = (
    Option("format f", "value", "table or json", metavar="FORMAT", default="table"),
    Option("quiet q", "flag", "only ids"),
)
_COLUMNS = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")


def run(context: Context, name: str, words: list[str]) -> int:
    options, rest = read_options(name, words, OPTIONS, "[options]")
    if rest:
        raise InvalidInput("list takes no argument", why=f"{rest[0]!r} is one")
    states = []
    for id in context.store.ids():
        try:
            with context.store.open(id) as entry:
                states.append(lifecycle.oci_state(entry))
        except NotFound:
            # Deleted since the directory was read, or not made in full yet.
            continue
    form = options.value("format", "table")
    if options.given("quiet"):
        print("".join(f"{state['id']}\n" for state in states), end="")
    elif form == "json":
        print(jsonio.dump(states))
    elif form == "table":
        _table([[str(state[column.lower()]) for column in _COLUMNS] for state in states])
    else:
        raise InvalidInput(f"list knows no format {form!r}", hint="table or json")
    return 0


def _table(rows: list[list[str]]) -> None:
    rows = [list(_COLUMNS), *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        print("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
