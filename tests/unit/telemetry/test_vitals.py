"""The numbers of an instance are true ones."""

import pytest

from ailb_server.telemetry.process import CpuShare, open_files, resident_bytes
from ailb_server.telemetry.vitals import MAX_LATENCIES, WINDOW_S, Latencies, Vitals


class _Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def vitals(clock: _Clock) -> Vitals:
    return Vitals(clock=clock, wall=clock)


def _request(vitals: Vitals, outcome: str = "ok", seconds: float = 0.1) -> None:
    vitals.began(stream=False)
    vitals.ended(outcome, seconds, stream=False)


def test_requests_are_counted_by_how_they_ended(vitals: Vitals) -> None:
    for outcome in ("ok", "ok", "cancelled", "upstream_timeout"):
        _request(vitals, outcome)
    vitals.refused()
    vitals.began(stream=True)
    seen = vitals.snapshot()
    assert (seen.requests, seen.ok, seen.failed, seen.cancelled) == (6, 2, 2, 1)
    assert (seen.active_requests, seen.active_streams) == (1, 1)


def test_percentiles_are_those_of_the_very_latencies(vitals: Vitals) -> None:
    for hundredths in range(1, 101):
        _request(vitals, seconds=hundredths / 100)
    recent = vitals.snapshot().recent
    assert recent.count == 100
    assert recent.mean_s == pytest.approx(0.505)
    assert (recent.p50_s, recent.p95_s, recent.p99_s) == (0.5, 0.95, 0.99)


def test_what_was_long_ago_does_not_count(vitals: Vitals, clock: _Clock) -> None:
    _request(vitals, seconds=9)
    clock.now += WINDOW_S + 1
    assert vitals.snapshot().recent == Latencies()
    assert vitals.snapshot().ok == 1


def test_the_window_is_bounded(vitals: Vitals) -> None:
    for _ in range(MAX_LATENCIES + 10):
        _request(vitals)
    assert vitals.snapshot().recent.count == MAX_LATENCIES


def test_the_rate_is_of_the_last_whole_seconds(vitals: Vitals, clock: _Clock) -> None:
    for _ in range(10):
        for _ in range(5):
            _request(vitals)
        clock.now += 1
    assert vitals.snapshot().requests_per_second == 5
    clock.now += 5
    assert vitals.snapshot().requests_per_second == 2.5
    clock.now += 1_000_000
    assert vitals.snapshot().requests_per_second == 0


def test_a_reset_leaves_what_runs(vitals: Vitals, clock: _Clock) -> None:
    _request(vitals)
    vitals.began(stream=True)
    vitals.traffic.sent += 5
    clock.now += 7
    vitals.reset()
    vitals.traffic.sent += 3
    vitals.ended("ok", 1, stream=True)
    seen = vitals.snapshot()
    assert (seen.since, seen.requests, seen.ok, seen.bytes_sent) == (1007, 1, 1, 3)
    assert seen.active_streams == 0


def test_the_share_of_a_core_is_of_the_time_since_the_last_look(clock: _Clock) -> None:
    used = _Clock()
    cpu = CpuShare(clock, used)
    clock.now, used.now = clock.now + 2, used.now + 1
    assert cpu.percent() == 50
    clock.now, used.now = clock.now + 0.1, used.now + 0.1
    assert cpu.percent() == 50
    clock.now += 0.9
    assert cpu.percent() == pytest.approx(10)


def test_a_process_tells_its_memory_and_files() -> None:
    assert resident_bytes() > 1_000_000
    before = open_files()
    with open(__file__, encoding="utf-8"):
        assert open_files() == before + 1
