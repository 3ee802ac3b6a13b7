"""Every strategy orders all targets; the weighted ones share by weight."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailb_server.domain.target import Target
from ailb_server.routing.ledger import Ledger
from ailb_server.routing.strategies import LoadBalanced, RandomOrder, RoundRobin, strategies

_WEIGHTS = st.lists(st.integers(1, 20), min_size=1, max_size=5)


def _targets(weights: list[int]) -> list[Target]:
    return [Target(f"p{index}", "m", weight) for index, weight in enumerate(weights)]


@pytest.mark.parametrize("name", ["load_balanced", "round_robin", "failover", "random"])
@given(weights=_WEIGHTS, seed=st.integers(0, 1000))
def test_a_plan_is_an_order_of_all_targets(name: str, weights: list[int], seed: int) -> None:
    targets = _targets(weights)
    strategy = strategies(Ledger(), random.Random(seed))[name]  # noqa: S311
    for _ in range(3):
        assert Counter(strategy(targets)) == Counter(targets)


def test_failover_keeps_the_declared_order() -> None:
    targets = _targets([1, 9, 3])
    assert strategies(Ledger(), random.Random(0))["failover"](targets) == targets  # noqa: S311


@given(_WEIGHTS)
def test_round_robin_shares_exactly_by_weight(weights: list[int]) -> None:
    targets, strategy = _targets(weights), RoundRobin()
    for _ in range(2):
        firsts = Counter(strategy(targets)[0] for _ in range(sum(weights)))
        assert firsts == {target: target.weight for target in targets}


def test_round_robin_does_not_send_in_bursts() -> None:
    a, b, c = targets = [Target("a", "m", 5), Target("b", "m"), Target("c", "m")]
    strategy = RoundRobin()
    # The sequence that nginx's smooth weighted round robin is known for.
    assert [strategy(targets)[0] for _ in range(7)] == [a, a, b, a, c, a, a]


def test_round_robin_turns_are_apart_for_each_set() -> None:
    a, b, c = Target("a", "m"), Target("b", "m"), Target("c", "m")
    strategy = RoundRobin()
    assert strategy([a, b])[0] == a
    assert strategy([a, c])[0] == a
    assert strategy([a, b])[0] == b
    assert strategy([a, c])[0] == c


def test_round_robin_forgets_the_least_recently_used_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RoundRobin, "_MAX_SETS", 2)
    strategy = RoundRobin()
    one, two, three = ([Target("a", name), Target("b", name)] for name in "123")
    for targets in (one, two, one, three):
        strategy(targets)
    # `one` has had two turns and begins anew; `two` was forgotten after its first.
    assert strategy(one)[0].provider == "a"
    assert strategy(two)[0].provider == "a"


@pytest.mark.parametrize("weights", [[1, 1], [1, 3], [5, 3, 2]])
def test_random_shares_by_weight(weights: list[int]) -> None:
    targets, strategy = _targets(weights), RandomOrder(random.Random(7))  # noqa: S311
    draws = 4000
    firsts = Counter(strategy(targets)[0] for _ in range(draws))
    for target in targets:
        assert firsts[target] / draws == pytest.approx(target.weight / sum(weights), abs=0.04)


@given(st.lists(st.integers(0, 9), min_size=2, max_size=2), _WEIGHTS.filter(lambda w: len(w) > 1))
def test_load_balanced_asks_the_less_loaded_of_two(
    in_flight: list[int], weights: list[int]
) -> None:
    ledger, targets = Ledger(), _targets(weights)
    for target, count in zip(targets, in_flight, strict=False):
        ledger.state(target).in_flight = count
    first, second, *_ = LoadBalanced(ledger, random.Random(1))(targets)  # noqa: S311
    assert ledger.state(first).in_flight / first.weight <= (
        ledger.state(second).in_flight / second.weight
    )


def test_load_balanced_shares_by_weight_while_all_are_idle() -> None:
    a, b = targets = [Target("a", "m", 3), Target("b", "m", 1)]
    strategy = LoadBalanced(Ledger(), random.Random(7))  # noqa: S311
    firsts = Counter(strategy(targets)[0] for _ in range(4000))
    assert firsts[a] / firsts[b] == pytest.approx(3, rel=0.15)


def test_load_balanced_measures_load_by_weight() -> None:
    ledger, (strong, weak) = Ledger(), _targets([4, 1])
    ledger.state(strong).in_flight, ledger.state(weak).in_flight = 3, 1
    strategy = LoadBalanced(ledger, random.Random(1))  # noqa: S311
    assert {strategy([strong, weak])[0] for _ in range(20)} == {strong}


def test_load_balanced_avoids_a_busy_target() -> None:
    ledger, (a, b) = Ledger(), _targets([1, 1])
    ledger.state(a).in_flight = 5
    strategy = LoadBalanced(ledger, random.Random(1))  # noqa: S311
    assert {strategy([a, b])[0] for _ in range(20)} == {b}
