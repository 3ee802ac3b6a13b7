"""What tokens cost, to the micro-dollar."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailb_server.domain.chat import TokenUsage
from ailb_server.domain.target import Price, Target

# Dollars for a million tokens: 2.50, 10, 1.25 and 3.75.
_PRICE = Price(prompt=2_500_000, completion=10_000_000, cached=1_250_000, cache_write=3_750_000)


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (TokenUsage(), 0),
        (TokenUsage(prompt=1_000_000), 2_500_000),
        (TokenUsage(prompt=1000, completion=500), 2500 + 5000),
        (TokenUsage(prompt=1000, cached=400), 600 * 2.5 + 400 * 1.25),
        (TokenUsage(prompt=1000, cache_write=400), 600 * 2.5 + 400 * 3.75),
        (TokenUsage(prompt=1000, cached=600, cache_write=400), 600 * 1.25 + 400 * 3.75),
        (TokenUsage(completion=100, reasoning=90), 1000),
        # A provider that does not count cached tokens as prompt tokens.
        (TokenUsage(prompt=10, cached=100), 125),
    ],
)
def test_each_kind_has_its_price(usage: TokenUsage, cost: int) -> None:
    assert _PRICE.micro_dollars(usage) == cost


def test_cached_tokens_without_a_price_cost_as_prompt_tokens() -> None:
    price = Price(prompt=2_000_000)
    usage = TokenUsage(prompt=100, cached=30, cache_write=20)
    assert price.micro_dollars(usage) == 200


def test_free_cached_tokens_are_free() -> None:
    assert Price(prompt=10**6, cached=0).micro_dollars(TokenUsage(prompt=9, cached=9)) == 0


def test_is_rounded_once_half_up() -> None:
    price = Price(prompt=500_000, completion=500_000)
    assert price.micro_dollars(TokenUsage(prompt=1)) == 1
    assert price.micro_dollars(TokenUsage(prompt=1, completion=1)) == 1
    assert Price(prompt=499_999).micro_dollars(TokenUsage(prompt=1)) == 0


_TOKENS = st.integers(0, 10_000_000)


@given(_TOKENS, _TOKENS, st.integers(0, 10**8), st.integers(0, 10**8))
def test_is_within_half_a_micro_dollar_of_the_exact_cost(
    prompt: int, completion: int, prompt_price: int, completion_price: int
) -> None:
    usage = TokenUsage(prompt=prompt, completion=completion)
    cost = Price(prompt=prompt_price, completion=completion_price).micro_dollars(usage)
    exact_millionths = prompt * prompt_price + completion * completion_price
    assert abs(cost * 10**6 - exact_millionths) <= 10**6 // 2


def test_without_a_price_nothing_is_known_to_be_owed() -> None:
    usage = TokenUsage(prompt=1_000_000)
    assert Target("p", "m").cost_of(usage) == 0
    assert Target("p", "m", price=_PRICE).cost_of(usage) == 2_500_000
