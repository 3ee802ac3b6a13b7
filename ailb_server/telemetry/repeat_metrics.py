"""Metrics of answers that are given again."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

from ailb_server.domain.repeats import CacheResult, OnceResult


class RepeatMetrics:
    """See `domain.repeats.RepeatObserver`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._cache = Counter(
            "ailb_cache_requests_total",
            "Requests that asked for the response cache, by what it did.",
            ("result",),
            registry=registry,
        )
        self._once = Counter(
            "ailb_idempotent_requests_total",
            "Requests with an Idempotency-Key, by what became of them.",
            ("result",),
            registry=registry,
        )
        self._entries = Gauge(
            "ailb_cache_entries", "Answers in the response cache.", registry=registry
        )
        self._bytes = Gauge("ailb_cache_bytes", "Bytes that they take.", registry=registry)

    def watch(self, entries: Callable[[], float], size: Callable[[], float]) -> None:
        """Where the cache's figures are read from, at each scrape."""
        self._entries.set_function(entries)
        self._bytes.set_function(size)

    def cache(self, result: CacheResult) -> None:
        """See `RepeatObserver`."""
        self._cache.labels(result).inc()

    def once(self, result: OnceResult) -> None:
        """See `RepeatObserver`."""
        self._once.labels(result).inc()
