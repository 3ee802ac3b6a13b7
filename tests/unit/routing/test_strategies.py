"""Every strategy orders all targets; the weighted ones share by weight."""

import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailb_server.domain.chat import Operation
from ailb_server.domain.target import Price, Target
from ailb_server.routing.facts import RequestFacts
from ailb_server.routing.seat import Seat
from ailb_server.routing.strategies import (
    EXPLORATION_SHARE,
    STRATEGIES,
    cost_optimized,
    failover,
    latency_optimized,
    load_balanced,
    random_order,
    round_robin,
)
from tests.unit.doubles import chat
from tests.unit.routing.seats import chance, facts, priced, seats_of, weighted

_WEIGHTS = st.lists(st.integers(1, 20), min_size=1, max_size=5)
_PRICES = st.one_of(st.none(), st.builds(Price, st.integers(0, 10**8), st.integers(0, 10**8)))


def _name(seat: Seat) -> str:
    return seat.target.provider


@pytest.mark.parametrize("name", list(STRATEGIES))
@given(weights=_WEIGHTS, seed=st.integers(0, 1000))
def test_a_plan_is_an_order_of_all_targets(name: str, weights: list[int], seed: int) -> None:
    seats, rng = weighted(weights), chance(seed)
    for _ in range(3):
        ordered = STRATEGIES[name](seats, facts(), rng)
        assert len(ordered) == len(seats)
        assert set(ordered) == set(seats)


@pytest.mark.parametrize("name", list(STRATEGIES))
@given(weights=_WEIGHTS, seed=st.integers(0, 1000))
def test_a_strategy_depends_on_nothing_but_what_it_is_given(
    name: str, weights: list[int], seed: int
) -> None:
    one, two = (
        [
            _name(seat)
            for rng in (chance(seed),)
            for seats in (weighted(weights),)
            for _ in range(3)
            for seat in STRATEGIES[name](seats, facts(), rng)
        ]
        for _ in range(2)
    )
    assert one == two


def test_failover_keeps_the_declared_order() -> None:
    seats = weighted([1, 9, 3])
    assert failover(seats, facts(), chance()) == seats


@given(_WEIGHTS)
def test_round_robin_shares_exactly_by_weight(weights: list[int]) -> None:
    seats = weighted(weights)
    for _ in range(2):
        firsts = Counter(round_robin(seats, facts(), chance())[0] for _ in range(sum(weights)))
        assert firsts == {seat: seat.weight for seat in seats}


@given(_WEIGHTS.filter(lambda w: len(w) > 1), st.integers(1, 50), st.integers(0, 20))
def test_round_robin_starves_nobody_whoever_was_away(
    weights: list[int], while_away: int, before: int
) -> None:
    seats = weighted(weights)
    for _ in range(before):
        round_robin(seats, facts(), chance())
    for _ in range(while_away):
        round_robin(seats[1:], facts(), chance())
    rounds = 2 * sum(weights)
    firsts = Counter(round_robin(seats, facts(), chance())[0] for _ in range(rounds))
    assert all(firsts[seat] >= seat.weight for seat in seats)


def test_round_robin_does_not_send_in_bursts() -> None:
    seats = weighted([5, 1, 1])
    # The sequence that nginx's smooth weighted round robin is known for.
    turns = [_name(round_robin(seats, facts(), chance())[0]) for _ in range(7)]
    assert turns == ["p0", "p0", "p1", "p0", "p2", "p0", "p0"]


@pytest.mark.parametrize("weights", [[1, 1], [1, 3], [5, 3, 2]])
def test_random_shares_by_weight(weights: list[int]) -> None:
    seats, rng, draws = weighted(weights), chance(), 4000
    firsts = Counter(random_order(seats, facts(), rng)[0] for _ in range(draws))
    for seat in seats:
        assert firsts[seat] / draws == pytest.approx(seat.weight / sum(weights), abs=0.04)


@given(st.lists(st.integers(0, 9), min_size=2, max_size=2), _WEIGHTS.filter(lambda w: len(w) > 1))
def test_load_balanced_asks_the_less_loaded_of_two(
    in_flight: list[int], weights: list[int]
) -> None:
    seats = weighted(weights)
    for seat, count in zip(seats, in_flight, strict=False):
        seat.state.in_flight = count
    first, second, *_ = load_balanced(seats, facts(), chance())
    assert first.state.in_flight * second.weight <= second.state.in_flight * first.weight


def test_load_balanced_shares_by_weight_while_all_are_idle() -> None:
    seats, rng = weighted([3, 1]), chance()
    firsts = Counter(load_balanced(seats, facts(), rng)[0] for _ in range(4000))
    assert firsts[seats[0]] / firsts[seats[1]] == pytest.approx(3, rel=0.15)


def test_load_balanced_measures_load_by_weight() -> None:
    strong, weak = seats = weighted([4, 1])
    strong.state.in_flight, weak.state.in_flight = 3, 1
    assert {load_balanced(seats, facts(), chance(n))[0] for n in range(20)} == {strong}


def test_load_balanced_evens_out_targets_of_unequal_speed() -> None:
    """Each turn one request comes; the fast target finishes one in 2 turns, the slow one in 20."""
    fast, slow = seats = weighted([1, 1])
    rng, ends, peak = chance(), list[tuple[int, Seat]](), 0
    for turn in range(3000):
        for _, seat in [end for end in ends if end[0] == turn]:
            seat.state.in_flight -= 1
        ends = [end for end in ends if end[0] > turn]
        chosen = load_balanced(seats, facts(), rng)[0]
        chosen.state.in_flight += 1
        ends.append((turn + (2 if chosen is fast else 20), chosen))
        peak = max(peak, slow.state.in_flight)
    assert peak <= 4, "blind halves would put ten on the slow one"


@given(st.lists(_PRICES, min_size=1, max_size=6), st.integers(0, 1000), st.integers(1, 10_000))
def test_cost_optimized_asks_the_cheapest_and_the_unknown_last(
    prices: list[Price | None], seed: int, max_tokens: int
) -> None:
    asked = facts(max_tokens=max_tokens)
    ordered = cost_optimized(priced(*prices), asked, chance(seed))
    costs = [seat.expected_cost(asked) for seat in ordered]
    assert costs == sorted(costs)
    known = [math.isfinite(cost) for cost in costs]
    assert known == sorted(known, reverse=True)
    assert sum(known) == sum(price is not None for price in prices)


def test_what_is_cheapest_depends_on_the_request() -> None:
    reads_cheaply, writes_cheaply = seats = priced(Price(1, 50), Price(10, 1))
    long = facts(messages=[{"role": "user", "content": "x" * 8000}], max_tokens=10)
    short = facts(max_tokens=5000)
    assert cost_optimized(seats, long, chance())[0] is reads_cheaply
    assert cost_optimized(seats, short, chance())[0] is writes_cheaply


def test_who_answers_at_length_is_dearer_than_his_price() -> None:
    terse, wordy = seats = priced(Price(0, 10), Price(0, 8))
    assert cost_optimized(seats, facts(), chance())[0] is wordy
    for _ in range(20):
        terse.state.completion.observe(100)
        wordy.state.completion.observe(1000)
    assert cost_optimized(seats, facts(), chance())[0] is terse
    assert cost_optimized(seats, facts(max_tokens=50), chance())[0] is wordy


def test_an_unknown_price_is_last_for_what_has_no_output_too() -> None:
    free, unknown = seats = priced(Price(100, 0), None)
    embedding = RequestFacts(replace(chat(), operation=Operation.EMBEDDING), 0)
    assert unknown.expected_cost(embedding) == math.inf
    for seed in range(50):
        assert cost_optimized(seats, embedding, chance(seed)) == [free, unknown]


def test_equal_costs_are_shared_by_weight() -> None:
    price, rng = Price(1, 1), chance()
    seats = seats_of(Target("a", "m", 3, price), Target("b", "m", 1, price))
    firsts = Counter(cost_optimized(seats, facts(), rng)[0] for _ in range(4000))
    assert firsts[seats[0]] / firsts[seats[1]] == pytest.approx(3, rel=0.15)


def _measured(now: float, *seconds: float | None) -> list[Seat]:
    seats = weighted([1] * len(seconds))
    for seat, value in zip(seats, seconds, strict=True):
        if value is not None:
            seat.state.first_chunk[False].observe(value, now)
    return seats


def test_latency_optimized_asks_the_fastest() -> None:
    seats = _measured(1000.0, 0.5, 0.2, 0.9)
    for seed in range(50):
        ordered = latency_optimized(seats, facts(), chance(seed))
        assert [_name(seat) for seat in ordered] == ["p1", "p0", "p2"]


def test_the_unmeasured_are_last_but_a_small_share_looks_at_them() -> None:
    fast, unknown, stale = seats = _measured(1000.0, 0.5, None, None)
    stale.state.first_chunk[False].observe(0.1, 900.0)
    stale.state.first_chunk[False].observe(5.0, 901.0)
    rng, draws = chance(), 10_000
    firsts = Counter(latency_optimized(seats, facts(), rng)[0] for _ in range(draws))
    assert firsts[fast] / draws == pytest.approx(1 - EXPLORATION_SHARE, abs=0.01)
    for seat in (unknown, stale):
        assert firsts[seat] / draws == pytest.approx(EXPLORATION_SHARE / 2, abs=0.01)


def test_who_is_being_looked_at_is_not_looked_at_twice() -> None:
    fast, unknown = seats = _measured(1000.0, 0.5, None)
    unknown.state.waiting[False][1] = 1000.0
    assert {latency_optimized(seats, facts(), chance(n))[0] for n in range(200)} == {fast}


def test_a_target_that_hangs_loses_its_place_without_a_sample() -> None:
    first, second = seats = _measured(1000.0, 0.2, 0.5)
    first.state.waiting[False][1] = 1000.0
    assert latency_optimized(seats, facts(1000.4), chance())[0] is first
    assert latency_optimized(seats, facts(1000.6), chance())[0] is second


def test_a_whole_answer_that_takes_its_time_says_nothing_of_streams() -> None:
    first, second = seats = _measured(1000.0, 0.2, 0.5)
    first.state.first_chunk[True].observe(0.1, 1000.0)
    second.state.first_chunk[True].observe(0.4, 1000.0)
    first.state.waiting[False][1] = 1000.0
    streams = [latency_optimized(seats, facts(1003, stream=True), chance(n))[0] for n in range(50)]
    assert set(streams) == {first}
    assert latency_optimized(seats, facts(1003), chance())[0] is second


def test_streamed_and_whole_answers_are_measured_apart() -> None:
    first, second = seats = _measured(1000.0, 0.2, 0.5)
    first.state.first_chunk[True].observe(0.9, 1000.0)
    second.state.first_chunk[True].observe(0.1, 1000.0)
    assert latency_optimized(seats, facts(), chance())[0] is first
    assert latency_optimized(seats, facts(stream=True), chance())[0] is second


def test_when_none_is_measured_all_are_asked_by_weight() -> None:
    seats, rng = weighted([3, 1]), chance()
    firsts = Counter(latency_optimized(seats, facts(), rng)[0] for _ in range(4000))
    assert firsts[seats[0]] / firsts[seats[1]] == pytest.approx(3, rel=0.15)
