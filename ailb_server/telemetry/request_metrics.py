"""Metrics of requests and of the targets that answer them."""

from collections.abc import Mapping
from types import MappingProxyType

from prometheus_client import CollectorRegistry

from ailb_server.domain.chat import TokenUsage
from ailb_server.domain.target import Target
from ailb_server.telemetry.instruments import Buckets, Counter, Histogram, Summary

# Model names come from providers' listings: past this many pairs of provider and model, further
# ones share a label, and so do providers past theirs. This keeps all series below 1,000.
MAX_TARGET_LABELS = 20
MAX_PROVIDER_LABELS = 6
# The bounds of pauses within a stream.
PAUSE_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0)

_OTHER = "other"
_NONE = "none"
_MICRO = 1_000_000
_TARGET = ("provider", "model")
_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_FIRST_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_OWN_SECONDS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0)
_PHASE_SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.005, 0.025, 0.1, 0.5)

# By name: what it says, and its labels.
_COUNTERS: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        "ailb_requests_total": ("Requests, by how they ended.", (*_TARGET, "outcome")),
        "ailb_requests_refused_total": (
            "Requests refused at the edge or while they were read, not in the above.",
            ("reason",),
        ),
        "ailb_tokens_total": ("Tokens, by kind.", (*_TARGET, "kind")),
        "ailb_cost_dollars_total": ("Cost of requests whose model has a price.", _TARGET),
        "ailb_upstream_failures_total": (
            "Upstream attempts that failed.",
            (*_TARGET, "reason"),
        ),
    }
)
# By name: what it says, its labels, and its upper bounds.
_HISTOGRAMS: Mapping[str, tuple[str, tuple[str, ...], tuple[float, ...]]] = MappingProxyType(
    {
        "ailb_request_seconds": (
            "From a request's arrival to its end.",
            ("provider",),
            _SECONDS,
        ),
        "ailb_upstream_first_chunk_seconds": (
            "From an attempt's start to its first chunk: to all of an unstreamed answer.",
            ("provider",),
            _FIRST_SECONDS,
        ),
        "ailb_time_to_first_token_seconds": (
            "From a streamed chat's arrival to its first chunk.",
            ("provider",),
            _FIRST_SECONDS,
        ),
        "ailb_between_tokens_seconds": (
            "Pauses between the pieces of streams, as they are passed on.",
            ("provider",),
            PAUSE_SECONDS,
        ),
        "ailb_overhead_seconds": (
            "What AILB itself adds before the first byte.",
            (),
            _OWN_SECONDS,
        ),
        "ailb_phase_seconds": (
            "AILB's own time before a request is sent on, by phase: auth (of keys that are not in"
            " the cache), admission, context, routing.",
            ("phase",),
            _PHASE_SECONDS,
        ),
    }
)


class RequestMetrics:
    """One instance's. Quantiles are by provider, means by model: histograms of every model would be
    thousands of series."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str) -> Counter:
            return Counter(name, *_COUNTERS[name], registry)

        def histogram(name: str) -> Histogram:
            text, labels, bounds = _HISTOGRAMS[name]
            return Histogram((name, text, labels), bounds, registry)

        def summary(name: str) -> Summary:
            text = f"As {name.replace('_model', '')}, by model."
            return Summary(name, text, _TARGET, registry)

        self._requests = counter("ailb_requests_total")
        self._refused = counter("ailb_requests_refused_total")
        self._tokens = counter("ailb_tokens_total")
        self._cost = counter("ailb_cost_dollars_total")
        self._failures = counter("ailb_upstream_failures_total")
        self._model_seconds = summary("ailb_model_request_seconds")
        self._model_first = summary("ailb_model_time_to_first_token_seconds")
        self._seconds = histogram("ailb_request_seconds")
        self._first_chunk = histogram("ailb_upstream_first_chunk_seconds")
        self._first_token = histogram("ailb_time_to_first_token_seconds")
        self._pauses = histogram("ailb_between_tokens_seconds")
        self._overhead = histogram("ailb_overhead_seconds").labels()
        self._phases = histogram("ailb_phase_seconds")
        self._pairs: dict[tuple[str, str], tuple[str, str]] = {}
        self._providers: set[str] = set()

    def attempt(self, target: Target, seconds: float, failure: str | None) -> None:
        """An attempt's first chunk, or its failure's reason."""
        labels = self.labels(target)
        if failure is None:
            self._first_chunk.labels(labels[0]).observe(seconds)
        else:
            self._failures.labels(*labels, failure.lower()).add()

    def ended(self, target: Target | None, outcome: str, total_s: float) -> None:
        """A chat's end. `outcome` is `ok`, `cancelled` or an error's reason: a closed set.

        Without a target that answered, its labels are `none`: the attempts tell whose failures
        they were, and of several none is the one.
        """
        labels = self.labels(target)
        self._requests.labels(*labels, outcome).add()
        self._seconds.labels(labels[0]).observe(total_s)
        if target is not None:
            self._model_seconds.labels(*labels).observe(total_s)

    def refused(self, reason: str) -> None:
        """A request that no stage has seen. `reason` is an error's: a closed set."""
        self._refused.labels(reason).add()

    def first_token(self, target: Target, seconds: float) -> None:
        """A streamed chat's first chunk."""
        labels = self.labels(target)
        self._first_token.labels(labels[0]).observe(seconds)
        self._model_first.labels(*labels).observe(seconds)

    def pauses(self, target: Target, pauses: Buckets) -> None:
        """Those of a whole stream, with the bounds PAUSE_SECONDS."""
        self._pauses.labels(self.labels(target)[0]).add(pauses)

    def overhead(self, seconds: float) -> None:
        """What AILB itself added before the first byte."""
        self._overhead.observe(seconds)

    def phases(self, seconds: Mapping[str, float]) -> None:
        """What a request's phases took. Their names are a closed set."""
        for phase, took in seconds.items():
            self._phases.labels(phase).observe(took)

    def used(self, target: Target, usage: TokenUsage, cost_micro_dollars: int) -> None:
        """A chat's tokens and, if its model has a price, what they cost."""
        labels = self.labels(target)
        counts = (
            ("prompt", usage.prompt),
            ("completion", usage.completion),
            ("cached", usage.cached),
            ("cache_write", usage.cache_write),
            ("reasoning", usage.reasoning),
        )
        for kind, count in counts:
            if count:
                self._tokens.labels(*labels, kind).add(count)
        if cost_micro_dollars:
            self._cost.labels(*labels).add(cost_micro_dollars / _MICRO)

    def labels(self, target: Target | None) -> tuple[str, str]:
        """Provider and model as labels: only targets of the routing table come here, never what a
        caller wrote."""
        if target is None:
            return _NONE, _NONE
        pair = (target.provider, target.model)
        return self._pairs.get(pair) or self._new(pair)

    def has_labels(self, target: tuple[str, str]) -> bool:
        """Whether a target, by provider and model, has labels of its own."""
        return target in self._pairs

    def _new(self, pair: tuple[str, str]) -> tuple[str, str]:
        provider = pair[0]
        if provider not in self._providers:
            if len(self._providers) >= MAX_PROVIDER_LABELS:
                return _OTHER, _OTHER
            self._providers.add(provider)
        if len(self._pairs) >= MAX_TARGET_LABELS:
            return provider, _OTHER
        self._pairs[pair] = pair
        return pair
