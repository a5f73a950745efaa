"""trimaran completion SHELL, and what its script calls: trimaran __complete WORDS."""

from __future__ import annotations

from trimaran.cli import registry
from trimaran.cli.main import GLOBAL_OPTIONS, load
from trimaran.cli.options import Argument, Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments, Option

BASH = """\
_trimaran() {
    local IFS=$'\\n'
    COMPREPLY=($(trimaran __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _trimaran trimaran
"""
ZSH = """\
#compdef trimaran
_trimaran() {
    local -a words_found
    words_found=(${(f)"$(trimaran __complete "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    if (( ${#words_found} )); then compadd -a words_found; else _files; fi
}
compdef _trimaran trimaran
"""
FISH = """\
complete -c trimaran -f -a '(trimaran __complete (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def run(context: Context, args: Arguments) -> int | None:
    script = SCRIPTS.get(args.shell)
    if script is None:
        from trimaran.cli.options import UsageError

        raise UsageError(f"no completion for {args.shell}", hint=f"one of {', '.join(SCRIPTS)}")
    context.print(script, end="")
    return None


def complete(context: Context, words: Sequence[str]) -> int:
    """Print what the last word may become, one a line."""
    *before, last = words or [""]
    for found in sorted(set(_candidates(context, before, last))):
        if found.startswith(last):
            context.print(found)
    return 0


def _candidates(context: Context, before: list[str], last: str) -> Iterable[str]:
    while before and before[0].startswith("-"):
        takes_value = any(before[0] in o.names and not o.flag for o in GLOBAL_OPTIONS)
        before = before[2 if takes_value else 1 :]
    found = registry.find(before)
    if found:
        return _of_command(context, load(found[0]), last)
    if before:
        names = [*registry.COMMANDS, *registry.ALIASES]
        return [n.split(" ", 1)[1] for n in names if n.startswith(before[0] + " ")]
    if last.startswith("-"):
        return _option_names(GLOBAL_OPTIONS)
    return [*(n for n in [*registry.COMMANDS, *registry.ALIASES] if " " not in n), *registry.GROUPS, "help"]


def _of_command(context: Context, command: Command, last: str) -> Iterable[str]:
    if last.startswith("-"):
        return [*_option_names(command.options), "--help"]
    kinds = {argument.metavar for argument in command.arguments}
    if "CONTAINER" in kinds:
        return context.engine().names()
    return ()


def _option_names(options: Sequence[Option]) -> list[str]:
    return [name for option in options if not option.hidden for name in option.names]


COMMAND = Command(
    run,
    arguments=[Argument("SHELL")],
    description="The shell is bash, zsh or fish. The script asks trimaran, so it knows your containers.",
    examples=[("completion bash > /etc/bash_completion.d/trimaran", "For every user of bash")],
)
