"""Metrics of prices."""

from prometheus_client import CollectorRegistry, Counter


class PriceMetrics:
    """See `spend.list_prices.ListPrices`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._refused = Counter(
            "ailb_list_prices_refused_total",
            "List prices that cannot be, and count as unknown.",
            registry=registry,
        )

    def refused(self) -> None:
        """One of them."""
        self._refused.inc()
