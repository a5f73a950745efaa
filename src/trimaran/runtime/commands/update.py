"""update: other limits for a container that runs."""

from __future__ import annotations

import sys

from trimaran.errors import InvalidInput, KernelError
from trimaran.runtime import lifecycle
from trimaran.runtime.command import Context, only_id, read_options
from trimaran.runtime.options import Option, Options
from trimaran.spec import jsonio
from trimaran.spec.resources import Resources

OPTIONS = (
    Option(
        "resources r", "value", "file with resources as in config.json; - is standard input", metavar="FILE"
    ),
    Option("blkio-weight", "value", "share of block I/O, from 10 to 1000", metavar="N"),
    Option("cpu-period", "value", "length of a CPU period, in microseconds", metavar="N"),
    Option("cpu-quota", "value", "CPU time in a period, in microseconds; -1 for no limit", metavar="N"),
    Option("cpu-burst", "value", "CPU time that may be saved up, in microseconds", metavar="N"),
    Option("cpu-share", "value", "share of CPU time, relative to others", metavar="N"),
    Option("cpu-rt-period", "value", "length of a realtime period, in microseconds", metavar="N"),
    Option("cpu-rt-runtime", "value", "realtime CPU time in a period, in microseconds", metavar="N"),
    Option("cpu-idle", "value", "1: only what nobody else wants", metavar="N"),
    Option("cpuset-cpus", "value", "CPUs, such as 0-3,7", metavar="LIST"),
    Option("cpuset-mems", "value", "memory nodes, such as 0,1", metavar="LIST"),
    Option("memory", "value", "memory, in bytes or with k, m, g; -1 for no limit", metavar="SIZE"),
    Option("memory-reservation", "value", "soft limit of memory", metavar="SIZE"),
    Option("memory-swap", "value", "memory and swap together; -1 for no limit", metavar="SIZE"),
    Option(
        "kernel-memory", "value", "accepted for runc's sake: kernels have no such limit now", metavar="SIZE"
    ),
    Option("kernel-memory-tcp", "value", "memory for TCP buffers", metavar="SIZE"),
    Option("pids-limit", "value", "number of processes; -1 for no limit", metavar="N"),
    Option("l3-cache-schema", "value", "share of the L3 cache (resctrl)", metavar="TEXT"),
    Option("mem-bw-schema", "value", "share of memory bandwidth (resctrl)", metavar="TEXT"),
)
# option: (section, key)
_NUMBERS = {
    "blkio-weight": ("blockIO", "weight"),
    "cpu-period": ("cpu", "period"),
    "cpu-quota": ("cpu", "quota"),
    "cpu-burst": ("cpu", "burst"),
    "cpu-share": ("cpu", "shares"),
    "cpu-rt-period": ("cpu", "realtimePeriod"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime"),
    "cpu-idle": ("cpu", "idle"),
    "pids-limit": ("pids", "limit"),
}
_TEXTS = {"cpuset-cpus": ("cpu", "cpus"), "cpuset-mems": ("cpu", "mems")}
_SIZES = {
    "memory": ("memory", "limit"),
    "memory-reservation": ("memory", "reservation"),
    "memory-swap": ("memory", "swap"),
    "kernel-memory-tcp": ("memory", "kernelTCP"),
}
_UNITS = {"b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}


def run(context: Context, name: str, words: list[str]) -> int:
    options, rest = read_options(name, words, OPTIONS, "[options] ID")
    id = only_id(name, rest)
    source = options.value("resources")
    wanted = _read(source) if source else _from_options(options)
    schemata = [s for s in (options.value("l3-cache-schema"), options.value("mem-bw-schema")) if s]
    lifecycle.update(context.store, id, Resources.parse(wanted, "$"), schemata)
    return 0


def _read(source: str) -> object:
    try:
        if source == "-":
            return jsonio.parse(sys.stdin.buffer.read(jsonio.MAX_BYTES + 1))
        with open(source, "rb") as file:
            return jsonio.parse(file.read(jsonio.MAX_BYTES + 1))
    except OSError as error:
        raise KernelError("open", error.errno or 0, source) from None


def _from_options(options: Options) -> dict[str, dict[str, object]]:
    wanted: dict[str, dict[str, object]] = {}
    for option, (section, key) in _NUMBERS.items():
        if options.value(option):
            wanted.setdefault(section, {})[key] = options.number(option)
    for option, (section, key) in _TEXTS.items():
        if options.value(option):
            wanted.setdefault(section, {})[key] = options.value(option)
    for option, (section, key) in _SIZES.items():
        if options.value(option):
            wanted.setdefault(section, {})[key] = size(options.value(option), option)
    return wanted


def size(text: str, option: str) -> int:
    """A number of bytes such as ``67108864``, ``64m`` or ``1.5GiB``. Raises InvalidInput."""
    if text == "-1":
        return -1
    lower = text.lower().removesuffix("b").removesuffix("i")
    unit = lower[-1:] if lower[-1:] in _UNITS else ""
    number = lower[: len(lower) - len(unit)].strip()
    whole, _, part = number.partition(".")
    if not (whole.isascii() and whole.isdigit() and (not part or (part.isascii() and part.isdigit()))):
        raise InvalidInput(f"--{option} takes a size, not {text!r}", hint=f"--{option} 64m")
    shift = _UNITS[unit] if unit else 0
    scale = int("1" + "0" * len(part))
    return (int(whole + part) << shift) // scale
