"""trimaran bench"""

from __future__ import annotations

from trimaran.cli.options import Argument, Command, Option
from trimaran.cli.output import FORMAT_OPTION, show_list
from trimaran.errors import TrimaranError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments
    from trimaran.engine import Engine
    from trimaran.engine.container import Container

COLUMNS = {"JOB": "Job", "MEDIAN": "Median", "QUARTILES": "Quartiles", "SAMPLES": "Samples"}
IDLE = ["sleep", "100000"]


def run(context: Context, args: Arguments) -> int | None:
    engine = context.engine()
    options = {"isolation": args.isolation} if args.isolation else {}
    command = args.command or ["true"]
    rows = []
    for name, work in jobs(engine, args.image, command, options):
        if context.progress():
            context.note(f"{name} ...")
        work()
        rows.append(row(name, [timed(work) for _ in range(args.rounds)]))
    show_list(context, rows, COLUMNS, format=args.format)
    return None


def jobs(
    engine: Engine, image: str, command: list[str], options: dict[str, str]
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Each job: its name and the work. The container that ``exec`` goes to lives while its job is taken."""

    def run_one() -> None:
        result = engine.run(image, command, network="none", **options)  # type: ignore[arg-type]
        if result.exit_code:
            raise TrimaranError(
                f"{' '.join(command)} in {image}",
                why=f"ended with exit code {result.exit_code}",
                hint="name a command that succeeds, after the image",
            )

    def start() -> Container:
        return engine.start(image, IDLE, network="none", **options)  # type: ignore[arg-type]

    yield "run, with output, and remove", run_one
    yield "start in the background, kill, remove", lambda: start().remove(force=True)
    idle = start()
    try:
        yield "exec in a running container", lambda: idle.exec(command)
    finally:
        idle.remove(force=True)


def timed(work: Callable[[], object]) -> float:
    """Milliseconds that the work takes."""
    from time import perf_counter

    begin = perf_counter()
    work()
    return (perf_counter() - begin) * 1000


def row(name: str, samples: list[float]) -> dict[str, object]:
    from statistics import median, quantiles

    low, _, high = quantiles(samples, n=4, method="inclusive")
    return {
        "Job": name,
        "Median": f"{median(samples):.2f} ms",
        "Quartiles": f"{low:.2f} to {high:.2f}",
        "Samples": len(samples),
    }


def rounds(text: str) -> int:
    number = int(text)
    if number < 2:
        raise ValueError("at least 2, for there to be a median and quartiles")
    return number


COMMAND = Command(
    run,
    arguments=[
        Argument("IMAGE"),
        Argument("COMMAND", rest=True, help="What to run in it (default: true)"),
    ],
    options=[
        Option("-n", "--rounds", metavar="N", convert=rounds, default=20, help="Samples a job (default: 20)"),
        Option("--isolation", metavar="HULL", help="native, sandbox, vm, or oci:NAME"),
        FORMAT_OPTION,
    ],
    description="Measures this machine, with the engine in one process that is up. How Trimaran compares\n"
    "with other engines is measured by make bench, in the sources.",
    examples=[("bench debian:12", "Every job with true as the container's program")],
)
