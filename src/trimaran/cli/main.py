"""The entry of the trimaran command: global options, the choice of the command, errors and exit codes."""

from __future__ import annotations

import os
import sys

from trimaran.cli import registry
from trimaran.cli.context import Context
from trimaran.cli.options import Help, Option, UsageError, parse, parse_options
from trimaran.errors import TrimaranError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from trimaran.cli.options import Command

EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141

GLOBAL_OPTIONS = (
    Option("--root", metavar="DIR", help="Directory of all state (TRIMARAN_ROOT)"),
    Option("-D", "--debug", help="Say more about errors: the plan's step, the errno, the traceback"),
    Option("-v", "--version", help="Print the version and leave"),
)


def main(words: Sequence[str] | None = None) -> None:
    """Run the command that the process was started with, and exit with its code."""
    code = execute(list(sys.argv[1:] if words is None else words))
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = EXIT_BROKEN_PIPE
    # Straight out: tearing down the interpreter takes longer than many a command.
    os._exit(code)


def execute(words: list[str]) -> int:
    """Run one command; returns its exit code and prints its error."""
    context = Context()
    try:
        return _dispatch(context, words)
    except TrimaranError as error:
        return _report(context, error)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Nobody reads any more; what is still buffered must not fail a second time.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_BROKEN_PIPE
    finally:
        context.close()


def _dispatch(context: Context, words: list[str]) -> int:
    values: dict[str, Any] = {option.name: option.default for option in GLOBAL_OPTIONS}
    try:
        words = parse_options(GLOBAL_OPTIONS, words, values, interspersed=False)
    except Help:
        words = ["help"]
    context.root, context.debug = values["root"], values["debug"]
    if values["version"]:
        words = ["version", "--short"]
    if not words or words[0] == "help":
        from trimaran.cli import help

        return help.run(context, words[1:])
    if words[0] == "__complete":
        from trimaran.cli import completion

        return completion.complete(context, words[1:])
    found = registry.find(words)
    if found is None:
        return _unknown(context, words)
    return _run(context, *found)


def load(name: str) -> Command:
    """The declaration of the command with this full name."""
    from importlib import import_module

    command: Command = import_module(f"trimaran.cli.{registry.COMMANDS[name][0]}").COMMAND
    return command


def _run(context: Context, name: str, words: list[str]) -> int:
    command = load(name)
    try:
        args = parse(command, words)
    except Help:
        from trimaran.cli import help

        return help.command(context, name)
    return command.run(context, args) or 0


def _unknown(context: Context, words: list[str]) -> int:
    if words[0] in registry.GROUPS and (len(words) == 1 or words[1] in ("-h", "--help")):
        from trimaran.cli import help

        return help.group(context, words[0])
    from difflib import get_close_matches

    typed = " ".join(words[:2] if words[0] in registry.GROUPS else words[:1])
    names = [*registry.COMMANDS, *registry.ALIASES, *registry.GROUPS]
    near = get_close_matches(typed, names, 1)
    hint = f"did you mean 'trimaran {near[0]}'?" if near else "see 'trimaran --help'"
    raise UsageError(f"'{typed}' is not a trimaran command", hint=hint)


def _report(context: Context, error: TrimaranError) -> int:
    if context.debug:
        import traceback

        traceback.print_exception(error)
        facts = [
            f"{name}={getattr(error, name)!r}" for name in ("index", "step", "errno") if hasattr(error, name)
        ]
        if facts:
            context.note("trimaran: " + " ".join(facts))
    sys.stdout.flush()
    context.note("trimaran: " + str(error).replace("\n", " "))
    for note in getattr(error, "__notes__", ()):
        context.note(f"trimaran: also: {note}")
    return error.exit_code
