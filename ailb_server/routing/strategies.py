"""The routing strategies: each orders the targets of one request, best first.

A strategy gets at least one target and returns all of them; the first is asked, the others are
what it fails over to.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from ailb_server.domain.target import Target
from ailb_server.routing.ledger import Ledger

Strategy: TypeAlias = Callable[[Sequence[Target]], list[Target]]


class Failover:
    """The declared order, always."""

    def __call__(self, targets: Sequence[Target]) -> list[Target]:
        return list(targets)


class RandomOrder:
    """By weighted chance, without replacement."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def __call__(self, targets: Sequence[Target]) -> list[Target]:
        # Efraimidis and Spirakis, "Weighted random sampling with a reservoir" (2006).
        return sorted(targets, key=lambda t: self._rng.random() ** (1 / t.weight), reverse=True)


class RoundRobin:
    """Smooth weighted round robin, apart for each set of targets.

    Each target gains its weight, the highest is taken and pays the sum of all: the algorithm of
    nginx's upstream module. The turns kept are bounded: the least recently used set is forgotten.
    """

    _MAX_SETS = 10_000

    def __init__(self) -> None:
        self._turns: dict[tuple[Target, ...], list[int]] = {}

    def __call__(self, targets: Sequence[Target]) -> list[Target]:
        key = tuple(targets)
        turns = self._turns.pop(key, None) or [0] * len(key)
        self._turns[key] = turns
        if len(self._turns) > self._MAX_SETS:
            del self._turns[next(iter(self._turns))]
        for index, target in enumerate(key):
            turns[index] += target.weight
        order = sorted(range(len(key)), key=lambda index: -turns[index])
        turns[order[0]] -= sum(target.weight for target in key)
        return [key[index] for index in order]


class LoadBalanced:
    """Power of two choices: of two weighted draws, the one with fewer requests in flight by weight.

    Mitzenmacher, "The power of two choices in randomized load balancing" (2001).
    """

    def __init__(self, ledger: Ledger, rng: random.Random) -> None:
        self._ledger = ledger
        self._draw = RandomOrder(rng)

    def __call__(self, targets: Sequence[Target]) -> list[Target]:
        if len(targets) == 1:
            return list(targets)
        first, second, *rest = self._draw(targets)
        return [*sorted((first, second), key=self._load), *rest]

    def _load(self, target: Target) -> float:
        return self._ledger.state(target).in_flight / target.weight


def strategies(ledger: Ledger, rng: random.Random) -> Mapping[str, Strategy]:
    """Every strategy by the name that `ROUTING_STRATEGY` gives it."""
    return {
        "load_balanced": LoadBalanced(ledger, rng),
        "round_robin": RoundRobin(),
        "failover": Failover(),
        "random": RandomOrder(rng),
    }
