"""The benchmarks' own arithmetic and rendering."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from bench import chart, report
from bench.jobs import JOBS
from bench.measure import Contestant, Failure, Result, Series, command, interleave


def result(lower: bool = True) -> Result:
    series = [
        Series("kernel floor", [1.0, 1.0, 1.0]),
        Series("trimaran", [2.0, 2.5, 3.0]),
        Series("docker", [100.0, 50.0, 75.0]),
        Series("podman", failure="no such thing"),
    ]
    return Result("run-cold", "Run <one>", "ms", lower, series)


def test_the_ratio_speaks_for_the_better_side() -> None:
    peer = Series("docker", [75.0])
    assert result(lower=True).ratio(peer) == 30.0
    assert result(lower=False).ratio(peer) == pytest.approx(1 / 30)


def test_a_failed_contestant_has_no_ratio_and_is_named_as_failed() -> None:
    assert result().ratio(result().series[3]) is None
    assert "failed: no such thing" in report.text(result())
    assert report.rows(result())[3][1] == "failed: no such thing"


def test_the_table_gives_medians_ratios_and_multiples_of_the_floor() -> None:
    assert report.rows(result())[2] == ["docker", "75.0 ms", "62.5 to 87.5", "30.00", "75.0"]


def test_rounds_rotate_and_the_first_sample_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.measure.PAUSE", 0)
    order: list[str] = []

    def taker(name: str) -> Contestant:
        def sample() -> float:
            order.append(name)
            return float(len(order))

        return Contestant(name, sample)

    series = interleave([taker("a"), taker("b")], rounds=2, seconds=60)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert [s.samples for s in series] == [[4.0, 5.0], [3.0, 6.0]]


def test_who_fails_is_out_and_keeps_no_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.measure.PAUSE", 0)
    answers = iter([1.0, 2.0])

    def sample() -> float:
        try:
            return next(answers)
        except StopIteration:
            raise Failure("worn out") from None

    (series,) = interleave([Contestant("a", sample)], rounds=9, seconds=60)
    assert (series.samples, series.failure) == ([], "worn out")


def test_json_keeps_everything() -> None:
    machine, (read,) = report.from_json(report.as_json([result()]))
    assert machine["cpus"]
    assert read == result()


def test_the_chart_is_well_formed_and_escapes() -> None:
    tree = ET.fromstring(chart.svg(result()))
    texts = [element.text for element in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert "Run <one> (ms)" in texts
    assert "failed" in texts
    assert len(list(tree.iter("{http://www.w3.org/2000/svg}rect"))) == 3


def test_a_command_that_fails_says_so() -> None:
    assert command(["true"]) > 0
    with pytest.raises(Failure, match="exit status 3: worse"):
        command(["sh", "-c", "echo bad >&2; echo worse >&2; exit 3"])
    with pytest.raises(Failure, match="No such file"):
        command(["/nonexistent"])


def test_every_job_has_a_name_of_its_own_and_a_title() -> None:
    assert all(name == job.name and job.title for name, job in JOBS.items())
