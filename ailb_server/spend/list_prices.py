"""Vendors' list prices, from the package genai-prices: offline, as old as the package is.

A process of its own looks them up (see `list_price_query`), once for each model, and only for
vendors: nobody lists what one's own server costs.
"""

import asyncio
import importlib.util
import ipaddress
import json
import logging
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ailb_server.domain.target import MAX_PRICE, Price

_MICRO = 1_000_000
_PACKAGE = "genai_prices"
_MAX_KEPT = 10_000
_TIMEOUT_S = 30.0
_QUERY = Path(__file__).with_name("list_price_query.py")

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class ListPrices:
    """The prices of one vendor's models. `refused` is told of each that cannot be."""

    url: str
    refused: Callable[[], None]
    _known: dict[str, Price | None] = field(default_factory=dict)
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def of(self, model: str) -> Price | None:
        """What is known of a model's price."""
        return self._known.get(model)

    async def learn(self, models: Sequence[str]) -> None:
        """Looks up those not looked up before. What fails is told in the log, and tried again with
        the next call."""
        async with self._looking:
            new = [model for model in models if model not in self._known]
            if not new:
                return
            if len(self._known) + len(new) > _MAX_KEPT:
                self._known.clear()
            try:
                told = await _asked(self.url, new[:_MAX_KEPT])
            except (OSError, TimeoutError, ValueError) as error:
                _log.warning("no list prices for %d models: %r", len(new), error)
                return
            for model in new[:_MAX_KEPT]:
                self._known[model] = self._checked(model, told.get(model))

    def _checked(self, model: str, told: Any) -> Price | None:
        price = price_of(told) if told else None
        if price is not None and not _is_sane(price):
            _log.warning("the list price of %s cannot be: it counts as unknown", model)
            self.refused()
            return None
        return price


def list_prices_of(base_url: str, refused: Callable[[], None]) -> ListPrices | None:
    """None for an address of one's own, of which no vendor knows a price."""
    if _is_own(urlsplit(base_url).hostname or ""):
        return None
    if importlib.util.find_spec(_PACKAGE) is None:
        _log.warning("the package %s is not installed: no list prices", _PACKAGE)
        return None
    return ListPrices(base_url, refused)


def price_of(told: Mapping[str, Any]) -> Price | None:
    """What the query says of a model; None if it does not say what prompts cost."""
    base = _price(told["base"])
    if base is None:
        return None
    tiers = [(int(above), _price(prices)) for above, prices in told["tiers"]]
    return Price(
        base.prompt,
        base.completion,
        base.cached,
        base.cache_write,
        base.reasoning,
        tuple((above, tier) for above, tier in tiers if tier is not None),
    )


def _price(dollars: Mapping[str, float | None]) -> Price | None:
    prompt = _micro(dollars["input"])
    if prompt is None:
        return None
    return Price(
        prompt,
        # What has no price for answers gives none: an embedding model.
        _micro(dollars["output"]) or 0,
        _micro(dollars["cache_read"]),
        _micro(dollars["cache_write"]),
        _micro(dollars["output_reasoning"]),
    )


def _micro(dollars: float | None) -> int | None:
    """Micro-dollars for a million tokens; more than any price there may be for what is none."""
    if dollars is None:
        return None
    return round(dollars * _MICRO) if 0 <= dollars < math.inf else MAX_PRICE + 1


def _is_sane(price: Price) -> bool:
    return price.highest() <= MAX_PRICE


async def _asked(url: str, models: Sequence[str]) -> Mapping[str, Any]:
    """Raises OSError, TimeoutError, or ValueError for what is no answer."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(_QUERY), stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            request = json.dumps({"url": url, "models": list(models)}).encode()
            answer, _ = await process.communicate(request)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    told: Mapping[str, Any] = json.loads(answer)
    return told


def _is_own(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".localhost"))
    return not address.is_global
