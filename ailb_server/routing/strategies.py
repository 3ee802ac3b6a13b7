"""The routing strategies: each orders the targets of one request, best first.

A strategy is a function of the seats, the request's facts and a source of chance. It gets at least
one seat and returns all of them; the first is asked, the others are what it fails over to. Only
round robin leaves a trace: the turns that the seats carry.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

from ailb_server.routing.facts import RequestFacts
from ailb_server.routing.seat import Seat

Strategy: TypeAlias = Callable[[Sequence[Seat], RequestFacts, random.Random], list[Seat]]

DEFAULT_STRATEGY = "load_balanced"
# The share of requests that look whether a target of unknown latency has become the best.
EXPLORATION_SHARE = 0.05


def failover(seats: Sequence[Seat], _facts: RequestFacts, _rng: random.Random) -> list[Seat]:
    """The declared order, always."""
    return list(seats)


def random_order(seats: Sequence[Seat], _facts: RequestFacts, rng: random.Random) -> list[Seat]:
    """By weighted chance, without replacement.

    Efraimidis and Spirakis, "Weighted random sampling with a reservoir" (2006).
    """
    draw = rng.random
    drawn = [(draw() ** seat.lightness, index) for index, seat in enumerate(seats)]
    drawn.sort(reverse=True)
    return [seats[index] for _, index in drawn]


def round_robin(seats: Sequence[Seat], _facts: RequestFacts, _rng: random.Random) -> list[Seat]:
    """Smooth weighted round robin.

    Each seat gains its weight, the highest is taken and pays the sum of all: the algorithm of
    nginx's upstream module. Seats that are left out for a while gain and pay nothing.
    """
    total = 0
    for seat in seats:
        seat.turn += seat.weight
        total += seat.weight
    order = sorted(seats, key=_by_turn)
    order[0].turn -= total
    return order


def _by_turn(seat: Seat) -> int:
    return -seat.turn


def load_balanced(seats: Sequence[Seat], facts: RequestFacts, rng: random.Random) -> list[Seat]:
    """Power of two choices: of two weighted draws, the one with fewer requests in flight by weight.

    Mitzenmacher, "The power of two choices in randomized load balancing" (2001).
    """
    order = random_order(seats, facts, rng)
    if len(order) > 1 and _load(order[1]) < _load(order[0]):
        order[0], order[1] = order[1], order[0]
    return order


def _load(seat: Seat) -> float:
    return seat.state.in_flight * seat.lightness


def cost_optimized(seats: Sequence[Seat], facts: RequestFacts, rng: random.Random) -> list[Seat]:
    """The least expected cost of this request first, unknown prices last, equals by weight.

    Prompt tokens are estimated, completion tokens are each target's mean within what is allowed.
    """
    # Python's sort is stable: a draw first settles the equals.
    order = random_order(seats, facts, rng)
    costs = {seat: seat.expected_cost(facts) for seat in order}
    order.sort(key=costs.__getitem__)
    return order


def latency_optimized(seats: Sequence[Seat], facts: RequestFacts, rng: random.Random) -> list[Seat]:
    """The shortest expected time to the first chunk first; unknown ones last, by weighted chance.

    EXPLORATION_SHARE of the requests go to a target that was not measured lately, if there is one
    besides the best that nobody tries at this moment, so that a recovered target is found.
    """
    now, stream = facts.now, facts.stream
    order = random_order(seats, facts, rng)
    expected = {seat: seat.state.expected_first_chunk_s(now, stream=stream) for seat in order}
    order.sort(key=expected.__getitem__)
    if len(order) > 1 and expected[order[0]] < math.inf and rng.random() < EXPLORATION_SHARE:
        stale = [
            seat
            for seat in order[1:]
            if seat.state.first_chunk[stream].stale(now) and not seat.state.waiting[stream]
        ]
        if stale:
            found = rng.choice(stale)
            order.remove(found)
            order.insert(0, found)
    return order


STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "load_balanced": load_balanced,
        "round_robin": round_robin,
        "cost_optimized": cost_optimized,
        "latency_optimized": latency_optimized,
        "failover": failover,
        "random": random_order,
    }
)
