"""state."""

from __future__ import annotations

from trimaran.runtime import lifecycle
from trimaran.runtime.command import Context, only_id, read_options
from trimaran.spec import jsonio


def run(context: Context, name: str, words: list[str]) -> int:
    _, rest = read_options(name, words, (), "ID")
    with context.store.open(only_id(name, rest)) as entry:
        print(jsonio.dump(lifecycle.oci_state(entry), 2))
    return 0
