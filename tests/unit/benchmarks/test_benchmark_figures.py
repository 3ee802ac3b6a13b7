"""The figures that the benchmarks print."""

import pytest

from benchmarks.figures import latency, percentile, typical

_MS = 1_000_000


def test_percentiles_are_samples_that_were_measured() -> None:
    hundred = [float(value) for value in range(1, 101)]
    assert percentile(hundred, 0.5) == 50.0
    assert percentile(hundred, 0.99) == 99.0
    assert percentile(hundred, 1.0) == 100.0
    assert percentile([7.0], 0.99) == 7.0


def test_latency_is_in_milliseconds_and_counts_slow_samples() -> None:
    found = latency([40 * _MS, 1 * _MS, 2 * _MS, 30 * _MS])
    assert found is not None
    assert (found.count, found.p50, found.highest, found.slow) == (4, 2.0, 40.0, 1)


def test_nothing_measured_is_none_and_not_zero() -> None:
    assert latency([]) is None
    assert typical([]) is None


def test_the_spread_is_half_the_range_by_the_median() -> None:
    found = typical([0.9, 1.3, 1.0])
    assert found is not None
    assert found.median == 1.0
    assert found.spread == pytest.approx(0.2)
