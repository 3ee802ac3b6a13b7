"""The Prometheus metrics of embedding."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0)


class EmbeddingMetrics:
    """Fits `embedding.observer.EmbeddingObserver`; `lane` is `query` or `bulk`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "ailb_embedding_requests_total",
            "Calls for vectors, by how they ended.",
            ("lane", "outcome"),
            registry=registry,
        )
        self._texts = Counter(
            "ailb_embedding_texts_total",
            "Texts, by where their vectors came from: `cache` or `model`.",
            ("lane", "source"),
            registry=registry,
        )
        self._seconds = Histogram(
            "ailb_embedding_seconds",
            "From a call for vectors to its end.",
            ("lane",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._waiting = Gauge(
            "ailb_embedding_waiting_texts",
            "Texts that are asked for and have no vector yet.",
            ("lane",),
            registry=registry,
        )

    def embedded(self, lane: str, outcome: str, seconds: float) -> None:
        """A call's end; `outcome` is of a closed set."""
        self._requests.labels(lane, outcome).inc()
        self._seconds.labels(lane).observe(seconds)

    def texts(self, lane: str, cached: int, computed: int) -> None:
        """Texts whose vectors were at hand, and those that the model was asked for."""
        if cached:
            self._texts.labels(lane, "cache").inc(cached)
        if computed:
            self._texts.labels(lane, "model").inc(computed)

    def waiting(self, lane: str, texts: int) -> None:
        """Texts that are asked for and have no vector yet."""
        self._waiting.labels(lane).set(texts)
