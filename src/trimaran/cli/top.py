"""trimaran top"""

from __future__ import annotations

from trimaran.cli.options import Argument, Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.cli.output import table

    rows = [[str(pid), *process] for pid, process in _processes(context, args.container)]
    table(context, ["PID", "PPID", "USER", "STATE", "RSS", "COMMAND"], rows)
    return None


def _processes(context: Context, name: str) -> list[tuple[int, list[str]]]:
    from trimaran.errors import Conflict

    core = context.engine().core
    container = context.engine().get(name)
    record = container.record
    if record.state not in ("running", "paused"):
        raise Conflict(f"container {record.name} has no processes", why=f"it is {record.state}")
    found = []
    for pid in core.isolations.get(record.isolation).processes(record.id):
        try:
            found.append((pid, _describe(pid)))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _describe(pid: int) -> list[str]:
    """What proc(5) says of a process of the host."""
    from trimaran.cli.output import size

    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        facts = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        words = file.read(4096).rstrip(b"\0").split(b"\0")
    command = b" ".join(words).decode("utf-8", "replace") or f"[{facts['Name']}]"
    resident = int(facts.get("VmRSS", "0 kB").split()[0]) * 1024
    return [facts["PPid"], facts["Uid"].split("\t")[0], facts["State"][0], size(resident), command]


COMMAND = Command(run, arguments=[Argument("CONTAINER")])
