"""Months in UTC, and the worst that a request may cost."""

from datetime import UTC, datetime

import pytest

from ailb_server.domain.chat import TokenUsage
from ailb_server.domain.target import Price
from ailb_server.spend.reservation import Month, Pricing


@pytest.mark.parametrize(
    ("now", "period", "ends"),
    [
        ((2026, 11, 30, 23, 59, 59), 202611, (2026, 12)),
        ((2026, 12, 1), 202612, (2027, 1)),
        ((2028, 2, 29, 12), 202802, (2028, 3)),
    ],
)
def test_months(now: tuple[int, int, int], period: int, ends: tuple[int, int]) -> None:
    month = Month.of(datetime(*now, tzinfo=UTC).timestamp())
    assert month == Month(period, datetime(*ends, 1, tzinfo=UTC).timestamp())


def test_no_usage_costs_more_than_the_worst_of_its_tokens() -> None:
    price = Price(3, 7, cached=1, cache_write=5)
    worst = Pricing().worst(1_000_000, 10, [Price(1, 1), price, None])
    assert worst == 6, "5 for the prompt, and a part of one for the completion"
    used = TokenUsage(prompt=1_000_000, completion=10, cached=3, cache_write=900_000)
    assert Pricing().cost(used, price) <= worst


def test_without_a_price_nothing_is_reserved() -> None:
    assert Pricing().worst(10, 10, [None]) == 0
    assert Pricing().worst(10, 10, []) == 0
