"""ps: the container's processes, as ps(1) of the host shows them, or as a list of PIDs."""

from __future__ import annotations

from trimaran.errors import InvalidInput, TrimaranError
from trimaran.runtime.cgroups import control
from trimaran.runtime.command import Context, read_options
from trimaran.runtime.options import Option
from trimaran.spec import jsonio

OPTIONS = (Option("format f", "value", "table or json", metavar="FORMAT", default="table"),)


def run(context: Context, name: str, words: list[str]) -> int:
    options, rest = read_options(name, words, OPTIONS, "[options] ID [ps options]", stop=True)
    if not rest:
        raise InvalidInput("ps takes an id", hint="trimaran-oci ps ID")
    with context.store.open(rest[0]) as entry:
        pids = control.processes(entry.read()["cgroups"])
    form = options.value("format", "table")
    if form == "json":
        print(jsonio.dump(pids))
    elif form == "table":
        print("\n".join(_table(set(pids), rest[1:] or ["-ef"])))
    else:
        raise InvalidInput(f"ps knows no format {form!r}", hint="table or json")
    return 0


def _table(pids: set[int], arguments: list[str]) -> list[str]:
    """The lines of ps(1) for these processes, under its title."""
    import subprocess

    try:
        result = subprocess.run(["ps", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise TrimaranError(
            "processes cannot be shown as a table", why="there is no ps", hint="use --format json"
        ) from None
    if result.returncode:
        raise InvalidInput(f"ps {' '.join(arguments)} failed", why=result.stderr.strip())
    title, *lines = result.stdout.splitlines()
    columns = title.split()
    if "PID" not in columns:
        raise InvalidInput(f"ps {' '.join(arguments)} prints no PID", hint="choose options that do")
    at = columns.index("PID")
    return [title, *(line for line in lines if int(line.split()[at]) in pids)]
