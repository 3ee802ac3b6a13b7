"""Metrics of conversation memory."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class MemoryMetrics:
    """See `memory.telling.MemoryObserver`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._recalls = Counter(
            "ailb_memory_recalls_total",
            "Recalls, by outcome: ok, or degraded by an outage.",
            ("outcome",),
            registry=registry,
        )
        self._seconds = Histogram(
            "ailb_memory_recall_seconds",
            "What a recall took, its query's embedding included.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._up = Gauge("ailb_memory_up", "1 while memory's store answers.", registry=registry)
        self._waiting = Gauge(
            "ailb_memory_waiting_exchanges",
            "Exchanges kept by this instance until the store is back.",
            registry=registry,
        )
        self._bytes = Gauge(
            "ailb_memory_waiting_bytes", "The size of those, about.", registry=registry
        )
        self._lost = Counter(
            "ailb_memory_lost_exchanges_total",
            "Exchanges that were not and will not be stored.",
            registry=registry,
        )
        self._embedded = Counter(
            "ailb_memory_embedded_turns_total", "Turns embedded.", registry=registry
        )
        self._removed = Counter(
            "ailb_memory_removed_sessions_total",
            "Sessions removed since they were past their time.",
            registry=registry,
        )

    def recalled(self, outcome: str, seconds: float) -> None:
        """A recall ended."""
        self._recalls.labels(outcome).inc()
        self._seconds.observe(seconds)

    def available(self, *, up: bool) -> None:
        """The store answers, or it does not."""
        self._up.set(up)

    def waiting(self, exchanges: int, size: int) -> None:
        """What waits to be stored."""
        self._waiting.set(exchanges)
        self._bytes.set(size)

    def lost(self, exchanges: int) -> None:
        """Exchanges that will not be stored."""
        self._lost.inc(exchanges)

    def embedded(self, turns: int) -> None:
        """Turns that were embedded."""
        self._embedded.inc(turns)

    def removed(self, sessions: int) -> None:
        """Sessions that were past their time."""
        self._removed.inc(sessions)
