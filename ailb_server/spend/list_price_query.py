"""A script of `list_prices`: looks prices up in the package genai-prices.

A process of its own, because the package takes 75 MB that are never given back. It reads a JSON
object `{"url": …, "models": […]}` and writes one: by model, null or the prices in dollars for a
million tokens as `{"base": {…}, "tiers": [[tokens, {…}], …]}`, with the package's names.
"""

import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

_FIELDS = ("input", "output", "cache_read", "cache_write", "output_reasoning")


def found(url: str, models: Sequence[str]) -> dict[str, Any]:
    """By model; None for those that the vendor of this address does not list."""
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415

    snapshot, now = get_snapshot(), datetime.now(UTC)
    # Its own answer for an unknown vendor costs a search for each model.
    if not any(re.match(vendor.api_pattern, url) for vendor in snapshot.providers):
        return dict.fromkeys(models)
    told: dict[str, Any] = {}
    for model in models:
        try:
            _, info = snapshot.find_provider_model(model, None, None, url)
        except LookupError:
            told[model] = None
        else:
            told[model] = _described(info.get_prices(now))
    return told


def _described(prices: Any) -> dict[str, Any]:
    values = {name: getattr(prices, f"{name}_mtok", None) for name in _FIELDS}
    starts = {tier.start for value in values.values() for tier in getattr(value, "tiers", ())}
    return {
        "base": {name: _at(value, -1) for name, value in values.items()},
        "tiers": [
            [start, {name: _at(value, start) for name, value in values.items()}]
            for start in sorted(starts)
        ],
    }


def _at(value: Any, start: int) -> float | None:
    """The price of prompts of more tokens than `start`: each kind of token has its own tiers."""
    dollars = getattr(value, "base", value)
    for tier in getattr(value, "tiers", ()):
        if tier.start <= start:
            dollars = tier.price
    return float(dollars) if isinstance(dollars, Decimal | int) else None


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    json.dump(found(asked["url"], asked["models"]), sys.stdout)
