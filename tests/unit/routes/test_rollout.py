"""Shares of traffic, and how they change."""

from hypothesis import given
from hypothesis import strategies as st

from ailb_server.domain.rollout import ALL, Rollout, Weights, begun, shared, weight_of

NOW = 1000.0
TWO: Weights = (("blue", 100), ("green", 0))
SHARES = st.lists(st.integers(0, 100), min_size=1, max_size=8).filter(any)


def _weights(parts: list[int]) -> Weights:
    """Made of whatever numbers, together ALL."""
    given: Weights = (*((f"v{n}", part) for n, part in enumerate(parts)), ("rest", 0))
    return shared(given, "rest", 0)[:-1]


@given(SHARES, st.integers(0, 100), st.integers(0, 7))
def test_shares_are_always_all_together_and_keep_their_proportions(
    parts: list[int], weight: int, index: int
) -> None:
    weights = _weights([*parts, 1])
    name = weights[index % len(weights)][0]
    moved = shared(weights, name, weight)
    assert sum(had for _, had in moved) == ALL
    assert weight_of(moved, name) == weight
    assert [n for n, _ in moved] == [n for n, _ in weights]
    before = ALL - weight_of(weights, name)
    for other, had in weights:
        if other != name and before:
            assert abs(weight_of(moved, other) - had * (ALL - weight) / before) < 1


@given(
    st.integers(1, 100), st.integers(1, 3600), st.lists(st.floats(0, 1e6), min_size=2, max_size=9)
)
def test_a_promotion_only_ever_rises_to_all(rate: int, every: int, times: list[float]) -> None:
    rollout = begun(TWO, NOW).promoted("green", rate, every, NOW)
    weights = [weight_of(rollout.at(NOW + t), "green") for t in sorted(times)]
    assert weights == sorted(weights)
    assert all(rate <= weight <= ALL for weight in weights)
    end = NOW + every * (ALL // rate + 1)
    assert rollout.at(end) == (("blue", 0), ("green", ALL))
    assert not rollout.under_way(end)


def test_a_promotion_takes_its_steps_by_the_clock_alone() -> None:
    rollout = begun((("blue", 90), ("green", 10)), NOW).promoted("green", 25, 60, NOW)
    told = [weight_of(rollout.at(NOW + t), "green") for t in (0, 59, 60, 119, 120, 180, 1e6)]
    assert told == [35, 35, 60, 60, 85, 100, 100]
    assert rollout.active(NOW) == "blue"
    assert rollout.active(NOW + 60) == "green"


def test_setting_a_weight_ends_a_promotion_where_it_is() -> None:
    rollout = begun(TWO, NOW).promoted("green", 10, 60, NOW).weighted("green", 15, NOW + 30)
    assert rollout.promotion is None
    assert rollout.at(NOW + 1e6) == (("blue", 85), ("green", 15))


def test_a_canary_is_rolled_back_to_who_had_all() -> None:
    rollout = begun(TWO, NOW).weighted("green", 10, NOW)
    assert rollout.back_to(NOW) == "blue"
    under_way = begun(TWO, NOW).promoted("green", 60, 60, NOW)
    assert under_way.active(NOW) == "green"
    assert under_way.back_to(NOW) == "blue"


def test_a_finished_promotion_is_rolled_back_to_the_version_before() -> None:
    done = begun(TWO, NOW).promoted("green", 50, 60, NOW)
    assert done.back_to(NOW + 60) == "blue"
    back = done.weighted("blue", ALL, NOW + 100)
    assert (back.stable, back.previous) == ("blue", "green")
    assert begun(TWO, NOW).back_to(NOW) is None


def test_other_versions_carry_on_what_there_is() -> None:
    rollout = Rollout((("blue", 60), ("green", 30), ("red", 10)), "blue")
    assert rollout.carried(["blue", "green", "new"], NOW) == (
        ("blue", 67),
        ("green", 33),
        ("new", 0),
    )
    assert rollout.carried(["a", "b"], NOW) == (("a", 100), ("b", 0))
