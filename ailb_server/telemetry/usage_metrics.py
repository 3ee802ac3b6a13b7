"""Metrics of the usage ledger."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge


class UsageMetrics:
    """See `spend.ledger.LedgerObserver`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._stored = Counter(
            "ailb_usage_rows_total", "Rows that reached the usage ledger.", registry=registry
        )
        self._lost = Counter(
            "ailb_usage_lost_rows_total",
            "Rows that the usage ledger will not have, by why: full, disk, refused, unreadable.",
            ("why",),
            registry=registry,
        )
        self._waiting = Gauge(
            "ailb_usage_journal_bytes",
            "What waits in this instance's journal to be stored.",
            registry=registry,
        )

    def watch(self, waiting_bytes: Callable[[], int]) -> None:
        """Asked whenever the metrics are."""
        self._waiting.set_function(waiting_bytes)

    def stored(self, rows: int) -> None:
        """Rows reached the store."""
        self._stored.inc(rows)

    def lost(self, why: str, rows: int) -> None:
        """Rows that the store will not have. `why` is of a closed set."""
        self._lost.labels(why).inc(rows)
