"""Declaring and parsing a command's options, as docker's command line has them.

Instead of argparse, whose import alone takes as long as everything else that starts a container.
"""

from __future__ import annotations

from trimaran.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from trimaran.cli.context import Context


class UsageError(InvalidInput):
    """The command line cannot be understood."""


class Arguments:
    """What was given: each option and argument as an attribute, with ``_`` for ``-``, in lower case."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


class Option:
    """``Option("-e", "--env", metavar="NAME=VALUE", many=True, help="...")``.

    Without ``metavar`` it is a flag. ``many``: may be repeated, gives a list. ``convert`` makes the value
    from the text, and raises ValueError for a wrong one. ``implied`` is the value where the option is given
    without one (``--pull``); such an option takes its value after ``=`` only.
    """

    __slots__ = (
        "choices",
        "convert",
        "default",
        "help",
        "hidden",
        "implied",
        "many",
        "metavar",
        "name",
        "names",
    )

    def __init__(
        self,
        *names: str,
        help: str,
        metavar: str = "",
        many: bool = False,
        default: Any = None,
        convert: Callable[[str], Any] = str,
        choices: Sequence[str] = (),
        implied: str | None = None,
        hidden: bool = False,
    ) -> None:
        self.names = names
        self.name = names[-1].lstrip("-").replace("-", "_")
        self.help = help
        self.metavar = metavar
        self.many = many
        self.default = default if default is not None or metavar else False
        self.convert = convert
        self.choices = choices
        self.implied = implied
        self.hidden = hidden

    @property
    def flag(self) -> bool:
        """Whether it takes no value."""
        return not self.metavar

    def value(self, given: str, name: str) -> Any:
        """The value of the text that was given."""
        if self.flag:
            return _boolean(given, name)
        if self.choices and given not in self.choices:
            raise UsageError(f"{name} {given}", why=f"not one of {', '.join(self.choices)}")
        try:
            return self.convert(given)
        except ValueError as error:
            raise UsageError(f"{name} {given}", why=str(error)) from error


def _boolean(given: str, name: str) -> bool:
    if given.lower() in ("true", "1", "t", "yes"):
        return True
    if given.lower() in ("false", "0", "f", "no"):
        return False
    raise UsageError(f"{name}={given}", why="neither true nor false")


class Argument:
    """A positional argument: ``many`` for one or more, ``optional`` for none or one (both: any number).

    ``rest``: everything that is left, options included.
    """

    __slots__ = ("help", "many", "metavar", "name", "optional", "rest")

    def __init__(
        self, metavar: str, *, help: str = "", many: bool = False, optional: bool = False, rest: bool = False
    ) -> None:
        self.metavar = metavar
        self.name = metavar.lower().replace("-", "_").replace("|", "_or_")
        self.help = help
        self.many = many or rest
        self.optional = optional or rest
        self.rest = rest


class Command:
    """One command: what it takes, and the function that does it."""

    __slots__ = ("arguments", "description", "examples", "interspersed", "options", "run")

    def __init__(
        self,
        run: Callable[[Context, Arguments], int | None],
        *,
        arguments: Sequence[Argument] = (),
        options: Sequence[Option] = (),
        description: str = "",
        examples: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.run = run
        self.arguments = arguments
        self.options = options
        self.description = description
        self.examples = examples
        # Once a program's own arguments may follow, options stop at the first word that is none.
        self.interspersed = not any(argument.rest for argument in arguments)


class Help(Exception):
    """--help was given."""


def parse(command: Command, words: Sequence[str]) -> Arguments:
    """The values of a command's options and arguments.

    Raises :class:`UsageError`, or :class:`Help` if that was asked for.
    """
    values: dict[str, Any] = {o.name: [] if o.many else o.default for o in command.options}
    positional = parse_options(command.options, words, values, command.interspersed)
    _assign(command.arguments, positional, values)
    return Arguments(values)


def parse_options(
    options: Sequence[Option], words: Sequence[str], values: dict[str, Any], interspersed: bool
) -> list[str]:
    """Take the options out of ``words`` into ``values``; returns what is left."""
    by_name = {name: option for option in options for name in option.names}
    left: list[str] = []
    waiting = list(reversed(words))
    while waiting:
        word = waiting.pop()
        if word == "--":
            return left + waiting[::-1]
        if word == "-" or not word.startswith("-"):
            left.append(word)
            if not interspersed:
                return left + waiting[::-1]
        elif word.startswith("--"):
            _long(by_name, word, waiting, values)
        else:
            _short(by_name, word, waiting, values)
    return left


def _long(by_name: dict[str, Option], word: str, waiting: list[str], values: dict[str, Any]) -> None:
    name, equals, given = word.partition("=")
    option = _find(by_name, name)
    if not equals:
        if option.flag:
            given = "true"
        elif option.implied is not None:
            given = option.implied
        else:
            given = _next(name, waiting)
    _store(option, name, given, values)


def _short(by_name: dict[str, Option], word: str, waiting: list[str], values: dict[str, Any]) -> None:
    """``-it``, ``-p80:80``, ``-p 80:80``, ``-p=80:80``."""
    rest = word[1:]
    while rest:
        name, rest = f"-{rest[0]}", rest[1:]
        option = _find(by_name, name)
        if option.flag and not rest.startswith("="):
            _store(option, name, "true", values)
            continue
        _store(option, name, rest.removeprefix("=") if rest else _next(name, waiting), values)
        return


def _find(by_name: dict[str, Option], name: str) -> Option:
    option = by_name.get(name)
    if option and name != "--help":
        return option
    if name in ("-h", "--help"):
        raise Help
    from difflib import get_close_matches

    near = get_close_matches(name, by_name, 1)
    raise UsageError(f"unknown option {name}", hint=f"did you mean {near[0]}?" if near else "see --help")


def _next(name: str, waiting: list[str]) -> str:
    if not waiting:
        raise UsageError(f"option {name} needs a value")
    return waiting.pop()


def _store(option: Option, name: str, given: str, values: dict[str, Any]) -> None:
    value = option.value(given, name)
    if option.many:
        values[option.name].append(value)
    else:
        values[option.name] = value


def _assign(arguments: Sequence[Argument], words: list[str], values: dict[str, Any]) -> None:
    words = list(words)
    for at, argument in enumerate(arguments):
        if argument.many:
            reserved = sum(not later.optional for later in arguments[at + 1 :])
            taken, words = words[: len(words) - reserved], words[len(words) - reserved :]
            if not taken and not argument.optional:
                raise UsageError(f"{argument.metavar} is missing", hint="see --help")
            values[argument.name] = taken
        elif words:
            values[argument.name] = words.pop(0)
        elif argument.optional:
            values[argument.name] = None
        else:
            raise UsageError(f"{argument.metavar} is missing", hint="see --help")
    if words:
        raise UsageError(f"unexpected argument {words[0]}", hint="see --help")
