"""trimaran check"""

from __future__ import annotations

from trimaran.cli.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    report = context.engine().images.check(repair=args.repair)
    for line in report.healed:
        context.print(f"healed: {line}")
    for line in report.problems:
        context.print(f"wrong: {line}")
    context.note(f"{report.blobs} blobs and {report.images} images checked")
    return 0 if report.sound else 1


COMMAND = Command(
    run,
    options=[Option("--repair", help="Fetch and unpack again what is damaged or missing")],
    description="Reads every blob. The exit code is 1 if anything is wrong (and was not healed).",
)
