"""The benchmarks keep to their time and say what they found."""

import json

import pytest

from benchmarks import report
from benchmarks.figures import latency
from benchmarks.load import Outcome
from benchmarks.plan import Cell, Plan, workloads
from benchmarks.run import Memory, Result, Sample, Surroundings

_SMALL = workloads()["small"]
_MEMORY = Memory(100 * 1024 * 1024, 70 * 1024 * 1024)


@pytest.mark.parametrize("seconds", [22.0, 90.0])
def test_all_cells_fit_into_the_time(seconds: float) -> None:
    plan = Plan(tuple(workloads().values()), 3, seconds)
    measuring = sum(sum(plan.times(cell.target)) for cell in plan.cells())
    assert measuring * plan.repetitions < seconds


def test_workloads_are_valid_requests() -> None:
    for workload in workloads().values():
        assert json.loads(workload.body).get("stream", False) is workload.stream


def test_the_report_shows_medians_errors_and_slow_samples() -> None:
    plan = Plan((_SMALL,), 3, 90.0)
    result = _result([(0.6, 1, {}), (1.0, 2, {}), (0.8, 45, {"status 503": 2})])
    text = report.text(plan, result)
    assert "0.800 ±25%" in text
    assert "1 of 6 samples over 30 ms: no 40 ms steps" in text
    assert "ERRORS: small c=1 AILB: {'status 503': 2}" in text
    assert "took 6.0 ms ±0%" in text
    assert report.errors(result) == 2
    row = json.loads(report.document(plan, result))["rows"][0]
    assert (row["workload"], row["target"], row["done"]) == ("small", "AILB", 6)
    assert row["figures"]["server CPU ms"]["median"] == pytest.approx(0.8)


def test_regular_stalls_are_called_steps() -> None:
    text = report.text(Plan((_SMALL,), 3, 90.0), _result([(0.7, 41, {})] * 3))
    assert "40 ms STEPS" in text


def _result(found: list[tuple[float, int, dict[str, int]]]) -> Result:
    """Repetitions of one cell, two requests each: server CPU ms, the slower one's ms, errors."""
    cell = Cell(_SMALL, 1, "AILB")
    samples = [
        Sample(
            cell,
            Outcome(
                done=2,
                window_s=1.0,
                errors=errors,
                latency=latency([1_000_000, ms * 1_000_000]),
                first_byte=None,
                cpu_s={"server": cpu_ms * 2 / 1000, "envoy": 0.0004},
            ),
            foreign_cpu=0.0,
            yardstick_ms=6.0,
        )
        for cpu_ms, ms, errors in found
    ]
    surroundings = Surroundings(2.5, (0, 1), 0.004, _MEMORY, _MEMORY)
    return Result(surroundings, samples, complete=True)
