"""trimaran version"""

from __future__ import annotations

import os
import sys

from trimaran._version import VERSION
from trimaran.cli.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments


def run(context: Context, args: Arguments) -> int | None:
    if args.short:
        context.print(f"trimaran {VERSION}")
        return None
    from trimaran.cli.output import show_one

    host = os.uname()
    facts = {
        "Version": VERSION,
        "Python": sys.version.split()[0],
        "Kernel": host.release,
        "Architecture": host.machine,
    }
    show_one(context, facts, args.format)
    return None


COMMAND = Command(
    run,
    options=[
        Option("-f", "--format", metavar="FORMAT", help="json, or a template such as '{{.Version}}'"),
        Option("--short", help="One line"),
    ],
)
