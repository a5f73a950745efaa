"""The benchmarks' command.

    python -m bench [OPTIONS] [JOB...]

    --peers NAME,...     who takes part besides Trimaran (default: all that are installed; "none")
    --runtime NAME=PATH  one more OCI runtime
    --all                the heavy jobs too
    --rounds N           samples of each contestant (default: the job's own)
    --json FILE          write the results as JSON
    --docs DIRECTORY     write the results there: charts (SVG), tables.md, run.json
    --list               name the jobs

As root it runs in mount, network and PID namespaces of its own: nothing that a peer sets up outlives it.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from bench import chart, report
from bench.context import Bench, Job
from bench.jobs import JOBS
from bench.jobs.oci import DEFAULTS
from bench.measure import Contestant, Failure, Result, Series, closing, interleave
from bench.peers import ENGINES

INSIDE = "TRIMARAN_BENCH_INSIDE"


def isolate() -> None:
    """Run this program again in namespaces of its own (once, as root)."""
    if os.geteuid() != 0 or INSIDE in os.environ:
        return
    os.environ[INSIDE] = "1"
    # The shell is the namespace's first process, and reaps what daemons leave behind. Where cgroups are v1
    # with v2 on the side, crun works only when it doesn't see v2.
    script = 'ip link set lo up; umount /sys/fs/cgroup/unified 2>/dev/null; "$@"; exit $?'
    unshare = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    python = [sys.executable, "-m", "bench", *sys.argv[1:]]
    os.execvp("unshare", [*unshare, "bash", "-c", script, "bash", *python])


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("jobs", nargs="*", metavar="JOB")
    parser.add_argument("--peers", default=",".join([*ENGINES, *DEFAULTS]))
    parser.add_argument("--runtime", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--docs", type=Path)
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.jobs if name not in JOBS]:
        parser.error(f"no such job: {' '.join(unknown)} (there are: {' '.join(JOBS)})")
    return options


def take(bench: Bench, job: Job, rounds: int | None) -> Result:
    """Run one job with all who take part."""
    try:
        entries = list(job.entries(bench))
    except Failure as failure:
        entries = [Series("all", failure=str(failure))]
    contestants = [entry for entry in entries if isinstance(entry, Contestant)]
    with closing(contestants):
        sampled = interleave(contestants, rounds or job.rounds, job.seconds)
    failed = [entry for entry in entries if isinstance(entry, Series)]
    return Result(job.name, job.title, job.unit, job.lower_is_better, [*sampled, *failed])


def write_docs(directory: Path, results: list[Result]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for result in results:
        (directory / f"{result.job}.svg").write_text(chart.svg(result))
    (directory / "tables.md").write_text(report.document(results))
    (directory / "run.json").write_text(report.as_json(results))


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    if options.list:
        for job in JOBS.values():
            print(f"{job.name:12} {job.title}{' (heavy)' if job.heavy else ''}")
        return 0
    isolate()
    ours = {"trimaran", "trimaran-oci"}
    runtimes = dict(item.split("=", 1) for item in options.runtime)
    chosen = [
        job
        for job in JOBS.values()
        if (job.name in options.jobs if options.jobs else options.all or not job.heavy)
    ]
    bench = Bench(frozenset(options.peers.split(",")) | ours, runtimes)
    results = []
    try:
        for job in chosen:
            results.append(take(bench, job, options.rounds))
            print(report.text(results[-1]), flush=True)
    finally:
        bench.close()
    if options.json:
        options.json.write_text(report.as_json(results))
    if options.docs:
        write_docs(options.docs, results)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
