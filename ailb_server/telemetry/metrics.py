"""One instance's metrics, and how they are told."""

from collections.abc import Callable

from prometheus_client import (
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Gauge,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from ailb_server.telemetry.embedding_metrics import EmbeddingMetrics
from ailb_server.telemetry.instance_metrics import InstanceMetrics
from ailb_server.telemetry.instruments import Counter
from ailb_server.telemetry.knowledge_metrics import KnowledgeMetrics
from ailb_server.telemetry.loop_lag import LoopLag
from ailb_server.telemetry.request_metrics import RequestMetrics
from ailb_server.telemetry.vitals import Vitals

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """In a registry of its own. `requests` is told of requests and targets, `instance` of the rest;
    `vitals` has numbers for those who do not read metrics."""

    def __init__(self, module_id: str, version: str) -> None:
        # When each series began: nobody asks, and it doubles the series of counters.
        plain: Callable[[], None] = disable_created_metrics
        plain()
        self.registry = CollectorRegistry()
        self.registry.register(PROCESS_COLLECTOR)
        labels = ("module_id", "version")
        info = Gauge("ailb_build_info", "Always 1.", labels, registry=self.registry)
        info.labels(module_id, version).set(1)
        self.vitals = Vitals()
        self.requests = RequestMetrics(self.registry)
        self.instance = InstanceMetrics(self.registry, self.vitals)
        self.loop_lag = LoopLag(self.instance.loop_lag.observe)
        self.vitals.loop_lag_s = self.loop_lag.worst
        self.embedding = EmbeddingMetrics(self.registry)
        self.knowledge = KnowledgeMetrics(self.registry)
        self._key_refused = Counter(
            "ailb_refused_keys_total",
            "Calls refused for their API key.",
            ("problem",),
            self.registry,
        )

    def exposition(self) -> bytes:
        """Prometheus's text format, of type CONTENT_TYPE."""
        return generate_latest(self.registry)

    def key_refused(self, problem: str) -> None:
        """A call that was refused for its key. `problem` is of a closed set."""
        self._key_refused.labels(problem).add()

    def refused(self, reason: str) -> None:
        """A request that no stage has seen. `reason` is an error's: a closed set."""
        self.requests.refused(reason)
        self.vitals.refused()
