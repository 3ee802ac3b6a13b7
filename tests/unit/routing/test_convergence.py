"""Simulations of the latency strategy: it finds the fastest, leaves the slow, and comes back."""

from collections import Counter
from collections.abc import Callable

import pytest

from ailb_server.domain.target import Target
from ailb_server.routing.ledger import Ledger
from ailb_server.routing.seat import Seat
from ailb_server.routing.strategies import latency_optimized
from tests.unit.routing.clock import Clock
from tests.unit.routing.seats import chance, facts


class _World:
    """Ten requests a second at targets whose first chunks take what `latency` says."""

    def __init__(self, targets: int, latency: Callable[[int, float], float]) -> None:
        self.clock = Clock()
        self.began = self.clock.now
        ledger = Ledger(clock=self.clock)
        self.seats = [ledger.seat(Target(f"p{n}", "m")) for n in range(targets)]
        self._latency = latency
        self._rng = chance()
        self._due: list[tuple[float, float, Seat, int]] = []
        self._id = 0

    def pass_s(self, seconds: float) -> Counter[int]:
        """Who was asked first in these seconds, by index."""
        asked: Counter[int] = Counter()
        for _ in range(int(seconds * 10)):
            self.clock.now += 0.1
            self._answer()
            seat = latency_optimized(self.seats, facts(self.clock.now), self._rng)[0]
            index = self.seats.index(seat)
            asked[index] += 1
            self._id += 1
            seat.state.waiting[False][self._id] = self.clock.now
            takes = self._latency(index, self.clock.now - self.began)
            self._due.append((self.clock.now + takes, takes, seat, self._id))
        return asked

    def _answer(self) -> None:
        for due, takes, seat, number in self._due:
            if due <= self.clock.now:
                del seat.state.waiting[False][number]
                seat.state.first_chunk[False].observe(takes, due)
        self._due = [one for one in self._due if one[0] > self.clock.now]


@pytest.mark.parametrize("fastest", range(4))
def test_it_converges_on_the_fastest(fastest: int) -> None:
    world = _World(4, lambda index, _: 0.3 if index == fastest else 1.0 + index / 10)
    world.pass_s(120)
    asked = world.pass_s(200)
    assert asked[fastest] >= 0.9 * asked.total()


def test_all_are_looked_at_again_and_again() -> None:
    world = _World(4, lambda index, _: 0.3 + index)
    world.pass_s(120)
    for _ in range(3):
        asked = world.pass_s(300)
        assert all(asked[index] >= 1 for index in range(4)), "no target starves"
        assert asked[0] >= 0.9 * asked.total()


def test_a_target_that_recovers_is_found() -> None:
    world = _World(2, lambda index, at: 0.8 if index else (0.2 if not 100 <= at < 200 else 4.0))
    world.pass_s(60)
    assert world.pass_s(40).most_common(1)[0][0] == 0
    world.pass_s(10)
    assert world.pass_s(80).most_common(1)[0][0] == 1
    # Back at 200 s: found by the exploring share once its last sample is stale.
    world.pass_s(110)
    asked = world.pass_s(50)
    assert asked[0] >= 0.9 * asked.total()


def test_a_target_that_begins_to_hang_is_left_within_a_second() -> None:
    world = _World(2, lambda index, at: (0.5 if at < 60 else 1e9) if index == 0 else 0.6)
    world.pass_s(60)
    world.pass_s(1)
    asked = world.pass_s(20)
    assert asked[1] >= 0.95 * asked.total()
