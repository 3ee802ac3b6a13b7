"""Seats of targets, as a router would have them."""

import random
from collections.abc import Sequence
from typing import Any

from ailb_server.domain.target import Price, Target
from ailb_server.routing.facts import RequestFacts
from ailb_server.routing.ledger import Ledger
from ailb_server.routing.seat import Seat
from tests.unit.doubles import chat


def seats_of(*targets: Target, ledger: Ledger | None = None) -> list[Seat]:
    ledger = ledger or Ledger()
    return [ledger.seat(target) for target in targets]


def weighted(weights: Sequence[int]) -> list[Seat]:
    """One provider for each weight: p0, p1, …"""
    return seats_of(*(Target(f"p{index}", "m", weight) for index, weight in enumerate(weights)))


def priced(*prices: Price | None) -> list[Seat]:
    """One provider for each price: p0, p1, …"""
    return seats_of(*(Target(f"p{i}", "m", price=price) for i, price in enumerate(prices)))


def facts(now: float = 1000.0, **fields: Any) -> RequestFacts:
    return RequestFacts(chat(**fields), now)


def chance(seed: int = 7) -> random.Random:
    return random.Random(seed)  # noqa: S311
