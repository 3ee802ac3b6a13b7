"""Sliding sums, quantiles, averages, the retry budget and providers' limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailb_server.routing.budget import RetryBudget
from ailb_server.routing.ewma import Ewma, PeakEwma
from ailb_server.routing.histogram import Histogram
from ailb_server.routing.limits import Entry, Gate, ProviderLimits
from ailb_server.routing.window import SlidingSum
from tests.unit.routing.clock import Clock

_EVENTS = st.lists(st.tuples(st.floats(0, 20), st.integers(0, 10)), max_size=40)


@given(_EVENTS)
def test_a_sliding_sum_covers_its_span_and_at_most_a_slot_more(
    events: list[tuple[float, int]],
) -> None:
    window, now, seen = SlidingSum(60, 60), 1000.0, list[tuple[float, int]]()
    for passed, amount in events:
        now += passed
        window.add(now, amount)
        seen.append((now, amount))
        total = window.total(now)
        assert total >= sum(amount for at, amount in seen if at > now - 60)
        assert total <= sum(amount for at, amount in seen if at > now - 61)


@given(_EVENTS, st.integers(0, 30))
def test_what_fits_later_fits_then(events: list[tuple[float, int]], room: int) -> None:
    window, now = SlidingSum(60, 60), 1000.0
    for passed, amount in events:
        now += passed
        window.add(now, amount)
    wait = window.fits_in(now, room)
    assert 0 <= wait <= 62
    assert (wait == 0) == (window.total(now) <= room)
    assert window.total(now + wait + 1e-6) <= room


@given(st.lists(st.floats(0.002, 500), min_size=1, max_size=200), st.floats(0.01, 1))
def test_a_quantile_errs_by_a_bucket_at_most(durations: list[float], share: float) -> None:
    histogram = Histogram()
    for seconds in durations:
        histogram.observe(seconds)
    exact = sorted(durations)[max(0, -int(-share * len(durations) // 1) - 1)]
    told = histogram.quantile(share)
    assert told is not None
    assert exact / 1.2 <= told <= exact * 1.2


def test_durations_out_of_bounds_are_counted_too() -> None:
    histogram = Histogram()
    assert histogram.quantile(0.5) is None
    for seconds in (0.0, -1.0, 1e-9, 1e12):
        histogram.observe(seconds)
    assert histogram.count == 4
    assert histogram.quantile(1) is not None


def test_averages() -> None:
    mean, peak = Ewma(0.5), PeakEwma()
    assert (mean.value, peak.value) == (None, None)
    for sample in (1.0, 3.0):
        mean.observe(sample)
    assert mean.value == 2.0
    peak.observe(1.0, now=0)
    peak.observe(5.0, now=1)
    assert peak.value == 5.0, "worse is believed at once"
    peak.observe(1.0, now=2)
    assert 4.0 < (peak.value or 0) < 5.0, "better only by and by"
    peak.observe(1.0, now=102)
    assert peak.value == pytest.approx(1.0, abs=0.01)
    assert not peak.stale(110)
    assert peak.stale(140)


@given(st.lists(st.tuples(st.floats(0, 0.5), st.booleans()), max_size=300))
def test_retries_stay_within_their_share(events: list[tuple[float, bool]]) -> None:
    clock = Clock()
    budget = RetryBudget(share=0.2, per_s=1, clock=clock)
    requests, granted = list[float](), list[float]()
    for passed, wants in events:
        clock.now += passed
        budget.request()
        requests.append(clock.now)
        if wants and budget.take():
            granted.append(clock.now)
        recent = sum(at > clock.now - 10 for at in granted)
        assert recent <= 10 + 0.2 * sum(at > clock.now - 11 for at in requests)


def test_an_idle_instance_may_retry_all_the_same() -> None:
    budget = RetryBudget(share=0.2, per_s=1, clock=Clock())
    budget.request()
    assert [budget.take() for _ in range(11)] == [True] * 10 + [False]


_LIMITS = st.builds(
    ProviderLimits,
    st.none() | st.integers(1, 5),
    st.none() | st.integers(1, 20),
    st.none() | st.integers(100, 2000),
)


@given(_LIMITS, st.lists(st.tuples(st.floats(0, 5), st.integers(1, 500)), max_size=60))
def test_a_gate_keeps_every_limit(limits: ProviderLimits, events: list[tuple[float, int]]) -> None:
    gate, now, taken = Gate(limits), 1000.0, list[tuple[float, int]]()
    for passed, tokens in events:
        now += passed
        if gate.wait_s(now, tokens) > 0:
            if gate.in_flight:
                gate.leave()
            continue
        gate.enter(now, tokens)
        taken.append((now, tokens))
        minute = [n for at, n in taken if at > now - 60]
        assert gate.in_flight <= (limits.max_concurrent or gate.in_flight)
        assert len(minute) <= (limits.requests_per_minute or len(minute))
        # One that is larger than the whole limit goes alone.
        assert sum(minute) <= (limits.tokens_per_minute or sum(minute)) or len(minute) == 1


_CALLS = st.lists(
    st.tuples(st.floats(0, 20), st.integers(1, 900), st.floats(0, 1), st.integers(0, 5)),
    max_size=60,
)


@given(_CALLS)
def test_tokens_of_a_minute_are_kept_though_less_were_used_than_expected(
    calls: list[tuple[float, int, float, int]],
) -> None:
    """Each call expects some tokens, and settles, some calls later, for a share of them."""
    limit, now = 1000, 1000.0
    gate = Gate(ProviderLimits(tokens_per_minute=limit, requests_per_minute=10**6))
    entered, open_calls = list[tuple[Entry, float]](), list[tuple[int, int, int]]()
    for index, (passed, expected, share, later) in enumerate(calls):
        now += passed
        for due, place, used in [call for call in open_calls if call[0] <= index]:
            entry, _ = entered[place]
            gate.correct(entry, now, used)
            entered[place] = (entry, used)
            open_calls.remove((due, place, used))
        if gate.wait_s(now, expected) > 0:
            continue
        entry_now = gate.enter(now, expected)
        assert entry_now is not None
        entered.append((entry_now, expected))
        open_calls.append((index + later, len(entered) - 1, int(expected * share)))
        assert sum(tokens for entry, tokens in entered if entry.at > now - 60) <= limit


def test_a_correction_does_not_outlast_what_it_corrects() -> None:
    gate = Gate(ProviderLimits(tokens_per_minute=1000))
    entry = gate.enter(0.5, 1000)
    assert entry is not None
    gate.correct(entry, 50, 100)
    gate.enter(61.9, 900)
    assert gate.wait_s(61.9, 101) > 0
    gate.correct(entry, 63, 0)
    assert gate.wait_s(63, 100) == 0


def test_what_was_never_sent_is_given_back() -> None:
    gate = Gate(ProviderLimits(requests_per_minute=1, tokens_per_minute=100))
    entry = gate.enter(5, 100)
    assert entry is not None
    assert gate.wait_s(6, 100) > 0
    gate.refund(entry, 6)
    assert gate.wait_s(6, 100) == 0


def test_no_limits_are_no_gate() -> None:
    assert not ProviderLimits().any()
    assert ProviderLimits(max_concurrent=1).any()
