"""Vendors' list prices, from the package genai-prices: offline, as old as the package is.

Importing it takes a third of a second and 75 MB, so only a gateway that has a vendor's API among
its providers pays for it, and before it serves.
"""

import functools
import importlib
import importlib.util
import ipaddress
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from ailb_server.domain.target import Price

_MICRO = 1_000_000
_PACKAGE = "genai_prices"
_MAX_KEPT = 10_000

_log = logging.getLogger(__name__)


def list_price_of(base_url: str) -> Callable[[str], Price | None] | None:
    """Tells the price of a model at the vendor whose API this is.

    None for an address of one's own, of which no vendor knows a price.
    """
    host = urlsplit(base_url).hostname or ""
    if _is_own(host):
        return None

    if importlib.util.find_spec(_PACKAGE) is None:
        _log.warning("the package %s is not installed: no list prices", _PACKAGE)
        return None

    # Asked for every model at every refresh, and slow where it knows none.
    @functools.lru_cache(maxsize=_MAX_KEPT)
    def price(model: str) -> Price | None:
        return _list_price(base_url, model)

    return price


def _list_price(base_url: str, model: str) -> Price | None:
    snapshot = importlib.import_module(f"{_PACKAGE}.data_snapshot").get_snapshot()
    try:
        _, found = snapshot.find_provider_model(model, None, None, base_url)
    except LookupError:
        return None
    return _price(found.get_prices(datetime.now(UTC)))


def _price(prices: Any) -> Price | None:
    prompt, completion = (_micro(prices, f"{side}_mtok") for side in ("input", "output"))
    if prompt is None or completion is None:
        return None
    cached, cache_write = (_micro(prices, f"cache_{way}_mtok") for way in ("read", "write"))
    return Price(prompt, completion, cached, cache_write)


def _micro(prices: Any, name: str) -> int | None:
    """Micro-dollars for a million tokens; of prices in tiers, the one that begins."""
    dollars = getattr(prices, name, None)
    dollars = getattr(dollars, "base", dollars)
    return round(dollars * _MICRO) if isinstance(dollars, Decimal | int) else None


def _is_own(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".localhost"))
    return not address.is_global
