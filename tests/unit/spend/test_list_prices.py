"""Vendors' list prices, as the package genai-prices has them."""

import importlib.util

import pytest

from ailb_server.domain.target import Price
from ailb_server.spend.list_prices import list_price_of

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("genai_prices") is None, reason="genai-prices is not installed"
)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/v1",
        "http://[::1]/v1",
        "http://10.0.0.1/v1",
        "http://localhost:11434/v1",
        "http://vllm:8000/v1",
        "https://models.corp.internal/v1",
    ],
)
def test_addresses_of_ones_own_have_no_list_prices(url: str) -> None:
    assert list_price_of(url) is None


@needs_package
def test_a_vendors_models_have() -> None:
    price_of = list_price_of("https://api.openai.com/v1")
    assert price_of is not None
    assert price_of("gpt-4o") == Price(2_500_000, 10_000_000, 1_250_000, None)
    assert price_of("gpt-4o-2024-08-06") == price_of("gpt-4o")
    assert price_of("no-such-model-at-all") is None


@needs_package
def test_of_tiers_the_first_counts() -> None:
    price_of = list_price_of("https://api.anthropic.com")
    assert price_of is not None
    price = price_of("claude-sonnet-4-5")
    assert price is not None
    assert (price.prompt, price.completion) == (3_000_000, 15_000_000)
    assert price.cached == 300_000


@needs_package
def test_an_unknown_vendor_has_none() -> None:
    price_of = list_price_of("https://llm.example.com/v1")
    assert price_of is None or price_of("gpt-4o") is None
