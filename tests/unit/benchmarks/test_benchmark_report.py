"""What is told of a run, on the terminal and in its JSON."""

from pathlib import Path

import pytest

from benchmarks import record, report
from benchmarks.comparison import comparisons
from benchmarks.plan import Plan
from benchmarks.run import Result
from tests.unit.benchmarks.runs import SMALL, STREAM, outcome, result, sample

_PLAN = Plan((SMALL, STREAM), 3, 90.0)


def test_medians_errors_and_slow_samples_are_shown() -> None:
    found = _small([(0.6, 1, {}), (1.0, 2, {}), (0.8, 45, {"status 503": 2})])
    text = report.text(_PLAN, found)
    assert "0.800 ±25%" in text
    assert "1 of 6 samples over 30 ms: no 40 ms steps" in text
    assert "ERRORS: small c=1 AILB: {'status 503': 2}" in text
    assert "took 6.0 ms ±0%" in text
    assert "1.00 s from `ailb serve`" in text
    assert report.errors(found) == 2


def test_regular_stalls_are_called_steps() -> None:
    assert "40 ms STEPS" in report.text(_PLAN, _small([(0.7, 41, {})] * 3))


def test_the_json_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = _small([(0.8, 2, {})])
    told = record.record(_PLAN, found, "python -m benchmarks.chat")
    read = record.read(record.write(tmp_path, told, found.samples))
    assert read == told
    assert read.figure(("small", "1", "AILB"), "server CPU ms") == pytest.approx(0.8)
    assert read.figure(("small", "1", "upstream"), "server CPU ms") is None


def test_ratios_are_of_pairs_of_the_same_repetition() -> None:
    # The machine is half as fast in the second repetition, for both.
    samples = []
    for slowness in (1.0, 2.0, 1.0):
        samples += [
            sample(SMALL, "AILB", outcome(0.6 * slowness)),
            sample(SMALL, "AILB keyed", outcome(0.9 * slowness)),
            sample(SMALL, "relay", outcome(0.3 * slowness)),
        ]
    found = {(each.cell.target, each.kind): each.value for each in comparisons(samples)}
    assert set(found) == {("AILB", "server CPU / relay"), ("AILB keyed", "server CPU / relay")}
    keyed = found["AILB keyed", "server CPU / relay"]
    assert (keyed.low, keyed.median, keyed.high) == pytest.approx((3.0, 3.0, 3.0))


def test_a_first_byte_is_compared_with_the_upstreams() -> None:
    mine = sample(STREAM, "AILB", outcome(1.0, 5.0, chunks=102))
    theirs = sample(STREAM, "upstream", outcome(1.0, 2.0, chunks=102))
    found = {each.kind: each.value.median for each in comparisons([mine, theirs])}
    assert found == {"TTFT added p50 ms": 0.0, "TTFT added p99 ms": pytest.approx(3.0)}


def test_streams_that_a_window_cuts_count_in_part() -> None:
    # Two were whole, and half of two more: 51 events are an answer.
    row = report.rows(result(sample(STREAM, "AILB", outcome(1.5, chunks=153))))[0]
    cpu, rate = row.figures["server CPU ms"], row.figures["RPS"]
    assert cpu is not None
    assert rate is not None
    assert (cpu.median, rate.median) == pytest.approx((1.0, 3.0))


def _small(found: list[tuple[float, float, dict[str, int]]]) -> Result:
    return result(*(sample(SMALL, "AILB", outcome(*each)) for each in found))
