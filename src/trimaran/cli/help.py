"""What --help prints, made from the declarations of the commands."""

from __future__ import annotations

from trimaran.cli import registry
from trimaran.cli.main import GLOBAL_OPTIONS, load
from trimaran.cli.options import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from trimaran.cli.context import Context
    from trimaran.cli.options import Argument, Option

WIDTH = 26


def run(context: Context, words: Sequence[str]) -> int:
    """``trimaran help [COMMAND]``."""
    if not words:
        context.print(overview())
        return 0
    found = registry.find(list(words))
    if found:
        return command(context, found[0])
    if words[0] in registry.GROUPS:
        return group(context, words[0])
    raise UsageError(f"'{words[0]}' is not a trimaran command", hint="see 'trimaran --help'")


def overview() -> str:
    """The page of ``trimaran --help``."""
    lines = [
        "Usage: trimaran [OPTIONS] COMMAND",
        "",
        "Run containers in one of three isolations: native, sandbox or vm. No daemon is needed.",
    ]
    for title, names in registry.SECTIONS:
        lines += ["", f"{title}:", *(_row(name, registry.COMMANDS[name][1]) for name in names)]
    if registry.GROUPS:
        lines += ["", "Groups:", *(_row(name, about) for name, about in registry.GROUPS.items())]
    lines += ["", "Options:", *option_rows(GLOBAL_OPTIONS), "", "'trimaran COMMAND --help' says more."]
    return "\n".join(lines)


def group(context: Context, noun: str) -> int:
    """``trimaran NOUN --help``."""
    lines = [f"Usage: trimaran {noun} COMMAND", "", registry.GROUPS[noun], "", "Commands:"]
    verbs = {
        n: registry.COMMANDS[registry.ALIASES.get(n, n)][1] for n in [*registry.COMMANDS, *registry.ALIASES]
    }
    lines += [_row(n.split(" ", 1)[1], about) for n, about in verbs.items() if n.startswith(noun + " ")]
    context.print("\n".join(lines))
    return 0


def command(context: Context, name: str) -> int:
    """``trimaran COMMAND --help``."""
    declared = load(name)
    words = ["Usage: trimaran", name]
    if declared.options:
        words.append("[OPTIONS]")
    words += [usage(argument) for argument in declared.arguments]
    lines = [" ".join(words), "", registry.COMMANDS[name][1]]
    if declared.description:
        lines += ["", declared.description]
    others = [other for other, target in registry.ALIASES.items() if target == name]
    if others:
        lines += ["", "Also: " + ", ".join(f"trimaran {other}" for other in others)]
    if declared.options:
        lines += ["", "Options:", *option_rows(declared.options)]
    if declared.examples:
        lines += ["", "Examples:"]
        for example, about in declared.examples:
            lines += [f"  # {about}", f"  trimaran {example}"]
    context.print("\n".join(lines))
    return 0


def usage(argument: Argument) -> str:
    """An argument as it stands in a usage line."""
    text = argument.metavar + (" ..." if argument.many else "")
    return f"[{text}]" if argument.optional else text


def option_rows(options: Sequence[Option]) -> list[str]:
    """Two columns: the option with its value, and what it does."""
    return [_row(_left(option), _right(option)) for option in options if not option.hidden]


def _left(option: Option) -> str:
    names = ", ".join(option.names)
    indent = "" if len(option.names[0]) == 2 else "    "
    return f"{indent}{names} {option.metavar}".rstrip()


def _right(option: Option) -> str:
    text = option.help
    if option.choices:
        text += f" ({', '.join(option.choices)})"
    if option.default and option.metavar:
        text += f" (default {option.default})"
    return text


def _row(left: str, right: str) -> str:
    if len(left) > WIDTH - 2:
        return f"  {left}\n{' ' * (WIDTH + 2)}{right}"
    return f"  {left:<{WIDTH}}{right}"
