"""Reading the runtime's command line: argparse alone would cost more than starting a container.

Options are those of runc: one or two dashes, ``--name value`` or ``--name=value``; they end at ``--``.
"""

from __future__ import annotations

from trimaran.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Option:
    """One option; ``kind`` is ``flag``, ``value`` or ``number``, ``metavar`` names its value in help."""

    __slots__ = ("default", "help", "kind", "metavar", "names")

    def __init__(self, names: str, kind: str, help: str, *, metavar: str = "", default: str = "") -> None:
        self.names = names.split()
        self.kind = kind
        self.help = help
        self.metavar = metavar or self.names[0].upper()
        self.default = default


class Options:
    """The options that were given, by their first name."""

    __slots__ = ("_given",)

    def __init__(self) -> None:
        self._given: dict[str, list[str]] = {}

    def add(self, name: str, value: str) -> None:
        self._given.setdefault(name, []).append(value)

    def given(self, name: str) -> bool:
        """Whether it was given, and not as ``=false``."""
        return name in self._given and self._given[name][-1] != "false"

    def value(self, name: str, default: str = "") -> str:
        """Its last value."""
        return self._given[name][-1] if name in self._given else default

    def number(self, name: str, default: int = 0) -> int:
        """Its last value as a whole number. Raises InvalidInput."""
        text = self.value(name, str(default))
        try:
            return int(text)
        except ValueError:
            raise InvalidInput(f"--{name} takes a whole number", why=f"{text!r} is none") from None

    def values(self, name: str) -> list[str]:
        """All its values, in order."""
        return self._given.get(name, [])


def parse(
    words: Sequence[str], options: Sequence[Option], *, stop: bool = False
) -> tuple[Options, list[str]]:
    """The options among ``words``, and the other words. Raises InvalidInput.

    ``stop``: options end at the first word that is none, since what follows is somebody else's.
    """
    known = {name: option for option in options for name in option.names}
    found = Options()
    rest, others = list(words), []
    while rest:
        word = rest.pop(0)
        if word == "--":
            break
        if not word.startswith("-") or word == "-":
            others.append(word)
            if stop:
                break
            continue
        name, equals, value = word.lstrip("-").partition("=")
        option = known.get(name)
        if option is None:
            raise InvalidInput(f"unknown option {word}", why=_nearest(name, known), hint="see --help")
        if option.kind == "flag":
            found.add(option.names[0], value if equals else "true")
            continue
        if not equals:
            if not rest:
                raise InvalidInput(f"option --{name} needs a value", hint=f"--{name} {option.metavar}")
            value = rest.pop(0)
        found.add(option.names[0], value)
    return found, others + rest


def _nearest(name: str, known: dict[str, Option]) -> str:
    """The option that was probably meant: they share the longest beginning."""

    def shared(other: str) -> int:
        length = 0
        while length < min(len(name), len(other)) and name[length] == other[length]:
            length += 1
        return length

    best = max(known, key=shared, default="")
    return f"did you mean --{best}?" if best and shared(best) >= 3 else ""


def describe(options: Sequence[Option]) -> str:
    """The options as the lines of a help text."""
    lines = []
    for option in options:
        names = ", ".join(f"--{name}" if len(name) > 1 else f"-{name}" for name in option.names)
        left = names if option.kind == "flag" else f"{names} {option.metavar}"
        lines.append(f"  {left.ljust(30)} {option.help}")
    return "\n".join(lines)
