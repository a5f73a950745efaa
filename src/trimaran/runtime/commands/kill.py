"""kill."""

from __future__ import annotations

from trimaran.errors import InvalidInput
from trimaran.runtime import lifecycle
from trimaran.runtime.command import Context, read_options
from trimaran.runtime.options import Option

OPTIONS = (Option("all a", "flag", "signal every process of the container"),)
# signal(7), for the architectures that Trimaran runs on
_NAMES = (
    *("HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE"),
    *("ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ"),
    *("VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS"),
)
NUMBERS = {name: number for number, name in enumerate(_NAMES, 1)} | {"IOT": 6, "POLL": 29, "CLD": 17}
_RTMIN, _RTMAX = 34, 64


def signal_number(text: str) -> int:
    """The number of a signal given by name, with or without SIG, or number. Raises InvalidInput."""
    name = text.upper().removeprefix("SIG")
    if name.isdigit() and name.isascii() and len(name) < 4 and 0 <= int(name) <= _RTMAX:
        return int(name)
    if name in NUMBERS:
        return NUMBERS[name]
    base, sign, offset = name.partition("+") if "+" in name else name.partition("-")
    if base in ("RTMIN", "RTMAX") and (not sign or offset.isdigit()):
        number = (_RTMIN if base == "RTMIN" else _RTMAX) + int(f"{sign}{offset}" if sign else 0)
        if _RTMIN <= number <= _RTMAX:
            return number
    raise InvalidInput(f"{text!r} is no signal", hint="give a name such as TERM, or a number")


def run(context: Context, name: str, words: list[str]) -> int:
    options, rest = read_options(name, words, OPTIONS, "[options] ID [SIGNAL]")
    if len(rest) not in (1, 2):
        raise InvalidInput("kill takes an id and a signal", hint="trimaran-oci kill ID TERM")
    signal = signal_number(rest[1] if len(rest) == 2 else "TERM")
    lifecycle.kill(context.store, rest[0], signal, all=options.given("all"))
    return 0
