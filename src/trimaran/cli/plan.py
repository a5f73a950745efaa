"""trimaran plan"""

from __future__ import annotations

from trimaran.cli.options import Argument, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    text = compiled(args.bundle, why=not args.short)
    if args.diff is None:
        context.print(text, end="")
        return None
    from difflib import unified_diff

    other = compiled(args.diff, why=not args.short)
    lines = unified_diff(
        text.splitlines(), other.splitlines(), args.bundle, args.diff, n=args.context, lineterm=""
    )
    found = list(lines)
    for line in found:
        context.print(line)
    return 1 if found else 0


def compiled(bundle: str, *, why: bool) -> str:
    """The plan of a bundle as text, its warnings last. Nothing is made or changed."""
    import os

    from trimaran.plan import text
    from trimaran.runtime import creating, prepare
    from trimaran.spec import jsonio, validate
    from trimaran.spec.runtime import Config

    directory, name = bundle, "config.json"
    if os.path.isfile(bundle):
        directory, name = os.path.split(os.path.abspath(bundle))
    config = Config.parse(jsonio.parse(creating.read_config(directory, name)))
    warnings = validate.check(config)
    # The same id for all: two plans differ only in what the configurations say.
    prepared = prepare.container("ID", os.path.abspath(directory), config, creating.CreateOptions())
    return text.render(prepared.plan, why=why) + "".join(f"warning: {warning}\n" for warning in warnings)


COMMAND = Command(
    run,
    arguments=[Argument("BUNDLE", help="a directory with config.json, or that file")],
    options=[
        Option(
            "--diff", metavar="BUNDLE", help="Show what another bundle's plan has instead; exit code 1 if any"
        ),
        Option("--context", metavar="N", convert=int, default=3, help="Lines around each difference (3)"),
        Option("--short", help="Leave out which field each operation comes from"),
    ],
    description=(
        "Shows what making the container would do on this host: one operation a line, each close to one\n"
        "system call, with the field of the configuration that it comes from. Nothing is done."
    ),
    examples=[
        ("trimaran plan .", "explain the bundle in this directory"),
        ("trimaran plan a --diff b", "what changes from one configuration to another"),
    ],
)
