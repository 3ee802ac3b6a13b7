"""Every Prometheus metric, by name."""

from typing import Any, TypeVar

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from ailb_server.domain.chat import TokenUsage
from ailb_server.domain.target import Target
from ailb_server.telemetry.embedding_metrics import EmbeddingMetrics
from ailb_server.telemetry.knowledge_metrics import KnowledgeMetrics
from ailb_server.telemetry.vitals import Vitals

CONTENT_TYPE = CONTENT_TYPE_LATEST
# Model names come from providers' listings: past this many pairs, further ones share a label.
MAX_TARGET_LABELS = 100
M = TypeVar("M", Counter, Histogram)

_OTHER = "other"
_NONE = "none"

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_OVERHEAD_SECONDS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0)
_KEYS_REFUSED = "Calls refused for their API key."


class Metrics:
    """One instance's metrics in a registry of its own."""

    def __init__(self, module_id: str, version: str) -> None:
        self.registry = CollectorRegistry()
        for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
            self.registry.register(collector)
        self._tell_build(module_id, version)
        target = ("provider", "model")
        self._requests = self._counter(
            "ailb_requests_total", "Requests, by how they ended.", (*target, "outcome")
        )
        refused = "Requests refused at the edge or while they were read, not in the above."
        self._refused = self._counter("ailb_requests_refused_total", refused, ("reason",))
        self._tokens = self._counter("ailb_tokens_total", "Tokens, by kind.", (*target, "kind"))
        self._cost = self._counter(
            "ailb_cost_micro_dollars_total", "Cost of requests whose model has a price.", target
        )
        self._attempts = self._counter(
            "ailb_upstream_failures_total", "Upstream attempts that failed.", (*target, "reason")
        )
        self._upstream = self._histogram(
            "ailb_upstream_first_chunk_seconds", "From an attempt's start to its first chunk."
        )
        self._first_token = self._histogram(
            "ailb_time_to_first_token_seconds", "From a streamed chat's arrival to its first chunk."
        )
        self._total = self._histogram(
            "ailb_request_seconds", "From a request's arrival to its end."
        )
        self._overhead = Histogram(
            "ailb_overhead_seconds",
            "What AILB itself adds before the first byte.",
            buckets=_OVERHEAD_SECONDS,
            registry=self.registry,
        )
        self._key_refused = self._counter("ailb_refused_keys_total", _KEYS_REFUSED, ("problem",))
        self.active = Gauge("ailb_active_chats", "Requests that run.", registry=self.registry)
        self.embedding = EmbeddingMetrics(self.registry)
        self.knowledge = KnowledgeMetrics(self.registry)
        self.vitals = Vitals()
        self._labels: dict[tuple[str, str], tuple[str, str]] = {}
        self._children: dict[tuple[object, ...], Any] = {}

    def _tell_build(self, module_id: str, version: str) -> None:
        labels = ("module_id", "version")
        info = Gauge("ailb_build_info", "Always 1.", labels, registry=self.registry)
        info.labels(module_id, version).set(1)

    def exposition(self) -> bytes:
        """Prometheus's text format, of type CONTENT_TYPE."""
        return generate_latest(self.registry)

    def attempt(self, target: Target, seconds: float, failure: str | None) -> None:
        """An attempt's first chunk, or its failure's reason."""
        labels = self._target(target)
        if failure is None:
            _child(self._children, self._upstream, *labels).observe(seconds)
        else:
            _child(self._children, self._attempts, *labels, failure.lower()).inc()

    def key_refused(self, problem: str) -> None:
        """A call that was refused for its key. `problem` is of a closed set."""
        self._key_refused.labels(problem).inc()

    def ended(self, target: Target | None, outcome: str, total_s: float) -> None:
        """A chat's end. `outcome` is `ok`, `cancelled` or an error's reason: a closed set.

        Without a target that answered, its labels are `none`: the attempts tell whose failures
        they were, and of several none is the one.
        """
        labels = self._target(target)
        _child(self._children, self._requests, *labels, outcome).inc()
        _child(self._children, self._total, *labels).observe(total_s)

    def refused(self, reason: str) -> None:
        """A request that no stage has seen. `reason` is an error's: a closed set."""
        _child(self._children, self._refused, reason).inc()
        self.vitals.refused()

    def first_token(self, target: Target, seconds: float) -> None:
        """A streamed chat's first chunk."""
        _child(self._children, self._first_token, *self._target(target)).observe(seconds)

    def overhead(self, seconds: float) -> None:
        """What AILB itself added before the first byte."""
        self._overhead.observe(seconds)

    def used(self, target: Target, usage: TokenUsage, cost_micro_dollars: int) -> None:
        """A chat's tokens and, if its model has a price, what they cost."""
        labels = self._target(target)
        counts = (
            ("prompt", usage.prompt),
            ("completion", usage.completion),
            ("cached", usage.cached),
            ("cache_write", usage.cache_write),
            ("reasoning", usage.reasoning),
        )
        for kind, count in counts:
            if count:
                _child(self._children, self._tokens, *labels, kind).inc(count)
        if cost_micro_dollars:
            _child(self._children, self._cost, *labels).inc(cost_micro_dollars)

    def _target(self, target: Target | None) -> tuple[str, str]:
        if target is None:
            return _NONE, _NONE
        key = (target.provider, target.model)
        labels = self._labels.get(key)
        if labels is None:
            full = len(self._labels) >= MAX_TARGET_LABELS
            labels = (target.provider, _OTHER) if full else key
            if not full:
                self._labels[key] = labels
        return labels

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(
            name, text, ("provider", "model"), buckets=_SECONDS, registry=self.registry
        )


def _child(children: dict[tuple[object, ...], Any], metric: M, *labels: str) -> M:
    """As `metric.labels`, which takes a lock and checks the names each time.

    Bounded as the labels are: targets, and closed sets.
    """
    key = (metric, *labels)
    child: M | None = children.get(key)
    if child is None:
        child = children[key] = metric.labels(*labels)
    return child
