"""Figures from samples: percentiles of one measurement, medians of several."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# Linux delays acknowledgements by 40 ms; Nagle's algorithm waiting for one shows above this.
SLOW_MS = 30.0

_NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds of one measurement's samples; `slow` counts those above SLOW_MS."""

    count: int
    p50: float
    p95: float
    p99: float
    highest: float
    slow: int


@dataclass(frozen=True, slots=True)
class Typical:
    """The median of repetitions, and how far they lie apart."""

    median: float
    low: float
    high: float

    @property
    def spread(self) -> float:
        """Half the range as a share of the median; 0 for a median of 0."""
        return (self.high - self.low) / 2 / self.median if self.median else 0.0


def percentile(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank percentile of ascending values; `share` lies in (0, 1]."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def latency(samples_ns: Sequence[int]) -> Latency | None:
    """None without a sample."""
    if not samples_ns:
        return None
    ordered = [ns / _NS_PER_MS for ns in sorted(samples_ns)]
    return Latency(
        count=len(ordered),
        p50=percentile(ordered, 0.5),
        p95=percentile(ordered, 0.95),
        p99=percentile(ordered, 0.99),
        highest=ordered[-1],
        slow=sum(ms > SLOW_MS for ms in ordered),
    )


def typical(values: Sequence[float]) -> Typical | None:
    """None without a value."""
    if not values:
        return None
    return Typical(statistics.median(values), min(values), max(values))


def slope(points: Sequence[tuple[float, float]]) -> float:
    """By least squares, how much y grows with each unit of x; 0 if all x are the same."""
    if not points:
        return 0.0
    mean_x = statistics.fmean(x for x, _ in points)
    mean_y = statistics.fmean(y for _, y in points)
    square = sum((x - mean_x) ** 2 for x, _ in points)
    product = sum((x - mean_x) * (y - mean_y) for x, y in points)
    return product / square if square else 0.0
