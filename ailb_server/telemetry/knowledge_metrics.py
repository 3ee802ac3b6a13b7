"""The Prometheus metrics of knowledge."""

from prometheus_client import CollectorRegistry, Counter


class KnowledgeMetrics:
    """How often a search's result was at hand: hits / (hits + misses) is the hit rate."""

    def __init__(self, registry: CollectorRegistry) -> None:
        lookups = Counter(
            "ailb_rag_cache_lookups_total",
            "Look-ups of searches' results in memory, by outcome.",
            ("outcome",),
            registry=registry,
        )
        self._hit, self._miss = lookups.labels("hit"), lookups.labels("miss")

    def looked_up(self, hit: bool) -> None:  # noqa: FBT001
        """One look-up."""
        (self._hit if hit else self._miss).inc()
