"""A run's results as a table for a terminal or for Markdown, and as JSON."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from bench.measure import Result, Series

FLOOR = "kernel floor"


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def rows(result: Result) -> list[list[str]]:
    """Each contestant: name, median, quartiles, how many times ours, how many times the kernel floor."""
    floor = next((s for s in result.series if s.name == FLOOR and s.samples), None)
    table = []
    for series in result.series:
        if series.failure or not series.samples:
            table.append([series.name, f"failed: {series.failure}", "", "", ""])
            continue
        low, high = series.spread
        ratio = result.ratio(series)
        table.append(
            [
                series.name,
                f"{number(series.median)} {result.unit}",
                f"{number(low)} to {number(high)}",
                f"{ratio:.2f}" if ratio else "",
                f"{series.median / floor.median:.1f}" if floor else "",
            ]
        )
    return table


HEAD = ["", "median", "quartiles", "ratio to ours", "times the floor"]


def markdown(result: Result) -> str:
    lines = [f"### {result.title}", "", f"`make bench ARGS={result.job}`", ""]
    lines += ["| " + " | ".join(row) + " |" for row in (HEAD, ["---", *["---:"] * 4], *rows(result))]
    return "\n".join(lines) + "\n"


def document(results: Sequence[Result]) -> str:
    """Every table and chart of a run, with where it was made."""
    host = machine()
    versions = host.pop("versions")
    assert isinstance(versions, dict)
    facts = [f"- {key}: {value}" for key, value in host.items()]
    facts += [f"- {name}: {said}" for name, said in versions.items() if said]
    head = [
        "# One run of the benchmarks",
        "",
        "Made by `make bench`; [what it means](../performance.md).",
        "",
        *facts,
    ]
    parts = [f"{markdown(result)}\n![{result.title}]({result.job}.svg)\n" for result in results]
    return "\n".join([*head, "", *parts])


def text(result: Result) -> str:
    table = [HEAD, *rows(result)]
    widths = [
        max(len(row[column]) for row in table if not row[1].startswith("failed")) for column in range(5)
    ]
    lines = [f"\n{result.job}: {result.title} ({'less' if result.lower_is_better else 'more'} is better)"]
    for row in table:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)


def version(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip().splitlines()[0] if done.stdout.strip() else ""


def machine() -> dict[str, object]:
    """Where the run was made: what decides about the seconds, though not about the ratios."""
    cpu = next(
        (
            x.split(":")[1].strip()
            for x in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in x
        ),
        "",
    )
    return {
        "kernel": platform.release(),
        "cpu": cpu,
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "load": os.getloadavg()[0],
        "versions": {
            name: version(name, "--version")
            for name in ("runc", "crun", "runsc", "podman", "docker", "containerd")
        },
    }


def plain(series: Series) -> dict[str, object]:
    if series.failure or not series.samples:
        return {"name": series.name, "failure": series.failure}
    return {
        "name": series.name,
        "median": series.median,
        "quartiles": series.spread,
        "samples": series.samples,
    }


def as_json(results: Sequence[Result]) -> str:
    jobs = [
        {
            "job": result.job,
            "title": result.title,
            "unit": result.unit,
            "lower_is_better": result.lower_is_better,
            "series": [plain(series) for series in result.series],
        }
        for result in results
    ]
    return json.dumps({"machine": machine(), "jobs": jobs}, indent=1)


def from_json(document: str) -> tuple[dict[str, object], list[Result]]:
    data = json.loads(document)
    results = []
    for job in data["jobs"]:
        series = [Series(s["name"], s.get("samples", []), s.get("failure", "")) for s in job["series"]]
        results.append(Result(job["job"], job["title"], job["unit"], job["lower_is_better"], series))
    return data["machine"], results
