"""The lab's command.

python -m lab build                       make the machine's image (cached in .cache/lab)
python -m lab test [PYTEST ARGUMENTS]     run the marked tests in it, as root and as an ordinary user
python -m lab run [--user] [--] COMMAND   run one command in it, in a copy of this tree
python -m lab shell                       boot it with a root shell on this terminal (Ctrl-A X ends it)
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

from lab import image, machine, payload
from lab.payload import Step

PYTHON = "/opt/trimaran/bin/python"
REPORTS = image.TOP / ".cache" / "reports"
# Marked tests run as root; those that want no root run once more as an ordinary user.
MARKED = "(lab or also_in_lab) and not bench"
TEST_SECONDS = 540
NO_TESTS = 5
ENVIRONMENT = {
    "TRIMARAN_LAB": "1",
    "PATH": "/opt/trimaran/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "TERM": "dumb",
}


def boot(steps: list[Step], *, seconds: float, interactive: bool = False) -> tuple[list[int], Path]:
    """Run steps in the machine; their exit statuses, and the directory of what they left in /lab/results."""
    built = image.build()
    work = machine.scratch()
    try:
        payload.pack(work / "input", steps, ENVIRONMENT)
        machine.run(built, work / "input", work / "output", seconds=seconds, interactive=interactive)
        kept = image.CACHE / "last"
        shutil.rmtree(kept, ignore_errors=True)
        return payload.unpack(work / "output", kept), kept / "results"
    finally:
        shutil.rmtree(work, ignore_errors=True)


def pytest(expression: str, report: str, arguments: list[str], user: str) -> Step:
    common = ["-p", "no:cacheprovider", "-q", "--color=no", "--timeout=300"]
    command = [
        PYTHON,
        "-m",
        "pytest",
        *common,
        "-m",
        expression,
        f"--junitxml=/lab/results/{report}",
        *arguments,
    ]
    return Step(command, "lab" if user == "lab" else "root")


def test(arguments: list[str]) -> int:
    REPORTS.mkdir(parents=True, exist_ok=True)
    reports = ("lab-root.xml", "lab-user.xml")
    for name in reports:
        (REPORTS / name).unlink(missing_ok=True)
    steps = [
        pytest(MARKED, reports[0], arguments, "root"),
        pytest(f"{MARKED} and not root", reports[1], arguments, "lab"),
    ]
    statuses, results = boot(steps, seconds=TEST_SECONDS)
    for name in reports:
        if (results / name).exists():
            shutil.copyfile(results / name, REPORTS / name)
    return next((status for status in statuses if status not in (0, NO_TESTS)), 0)


def run(arguments: list[str]) -> int:
    user = arguments[0] == "--user"
    command = arguments[user:]
    command = command[command[:1] == ["--"] :]
    statuses, _ = boot([Step(command, "lab" if user else "root")], seconds=TEST_SECONDS)
    return statuses[0]


def shell() -> int:
    boot([Step(["/bin/bash", "-l"])], seconds=0, interactive=True)
    return 0


def main(arguments: list[str]) -> int:
    begin = time.monotonic()
    match arguments:
        case ["build"]:
            print(f"lab: {image.build().disk} ({time.monotonic() - begin:.0f} s)")
            return 0
        case ["test", *rest]:
            return test(rest)
        case ["run", _, *_]:
            return run(arguments[1:])
        case ["shell"]:
            return shell()
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (image.BuildError, machine.MachineError) as error:
        sys.exit(f"lab: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"lab: {error}\n{(error.stderr or b'').decode(errors='replace')}")
