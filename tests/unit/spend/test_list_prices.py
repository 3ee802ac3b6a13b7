"""Vendors' list prices, as the package genai-prices has them."""

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest

from ailb_server.domain.chat import TokenUsage
from ailb_server.domain.target import MAX_PRICE, Price
from ailb_server.spend import list_prices
from ailb_server.spend.list_prices import ListPrices, list_prices_of, price_of
from ailb_server.spend.reservation import Pricing

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("genai_prices") is None, reason="genai-prices is not installed"
)
OPENAI = "https://api.openai.com/v1"


def never() -> None:
    raise AssertionError("no list price is absurd")


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


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
    assert list_prices_of(url, never) is None


async def learnt(url: str, *models: str) -> ListPrices:
    prices = list_prices_of(url, never)
    assert prices is not None
    await prices.learn(models)
    return prices


@needs_package
async def test_a_vendors_models_have_and_this_process_stays_small() -> None:
    before = resident_mb()
    names = ("gpt-4o", "gpt-4o-2024-08-06", "no-such-model-at-all", "text-embedding-3-small")
    prices = await learnt(OPENAI, *names)
    assert prices.of("gpt-4o") == Price(2_500_000, 10_000_000, 1_250_000, None)
    assert prices.of("gpt-4o-2024-08-06") == prices.of("gpt-4o")
    assert prices.of("no-such-model-at-all") is None
    assert prices.of("text-embedding-3-small") == Price(20_000, 0)
    assert resident_mb() - before < 4


@needs_package
async def test_longer_prompts_may_cost_more_of_all_tokens() -> None:
    vendor = "https://generativelanguage.googleapis.com/v1beta"
    price = (await learnt(vendor, "gemini-2.5-pro")).of("gemini-2.5-pro")
    assert price is not None
    long = price.at(200_001)
    assert (price.prompt, price.completion) == (1_250_000, 10_000_000)
    assert (long.prompt, long.completion) == (2_500_000, 15_000_000)
    assert price.at(200_000) is price
    usage = TokenUsage(prompt=300_000, completion=1000, cached=100_000)
    cached = long.cached or 0
    paid = 200_000 * 2.5 + 100_000 * cached / 1e6 + 1000 * 15
    assert price.micro_dollars(usage) == round(paid)
    assert Pricing().worst(300_000, 1000, [price]) >= paid


@needs_package
async def test_an_unknown_vendor_has_none() -> None:
    assert (await learnt("https://llm.example.com/v1", "gpt-4o")).of("gpt-4o") is None


def told(**dollars: float | None) -> Any:
    names = ("input", "output", "cache_read", "cache_write", "output_reasoning")
    return {"base": {name: dollars.get(name) for name in names}, "tiers": []}


@pytest.mark.parametrize(
    "dollars",
    [
        {"input": 10_001.0, "output": 1.0},
        {"input": 1.0, "output": -1.0},
        {"input": 1.0, "output": float("nan")},
        {"input": 1.0, "output": 2.0, "cache_write": 1e9},
    ],
)
async def test_what_cannot_be_is_left_out_and_counted(
    dollars: dict[str, float], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def answered(_url: str, _models: Any) -> Any:
        return {"odd": told(**dollars), "plain": told(input=1.0, output=2.0, output_reasoning=3.0)}

    monkeypatch.setattr(list_prices, "_asked", answered)
    seen: list[None] = []
    prices = ListPrices(OPENAI, lambda: seen.append(None))
    await prices.learn(["odd", "plain"])
    assert prices.of("odd") is None
    assert prices.of("plain") == Price(1_000_000, 2_000_000, reasoning=3_000_000)
    assert len(seen) == 1
    assert "odd cannot be" in caplog.text


async def test_what_could_not_be_looked_up_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = [OSError("no process"), {"m": told(input=1.0, output=0.0)}]

    async def answered(_url: str, _models: Any) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(list_prices, "_asked", answered)
    prices = ListPrices(OPENAI, never)
    for known in (None, Price(1_000_000)):
        await prices.learn(["m"])
        assert prices.of("m") == known
    await prices.learn(["m"])
    assert answers == []


def test_reasoning_and_tiers_are_priced_apart() -> None:
    price = price_of(
        {
            **told(input=1.0, output=4.0, output_reasoning=2.0),
            "tiers": [[100, told(input=2.0, output=8.0)["base"]]],
        }
    )
    assert price is not None
    assert price.micro_dollars(TokenUsage(prompt=100, completion=50, reasoning=20)) == 260
    assert price.micro_dollars(TokenUsage(prompt=101, completion=50, reasoning=20)) == 602
    assert price.highest() <= MAX_PRICE
    assert json.dumps(price.tiers[0][0]) == "100"
