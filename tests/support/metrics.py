"""An instance's metrics after a busy day, for what looks at them."""

import pkgutil
from collections.abc import Sequence
from importlib import import_module

import ailb_server.telemetry as package
from ailb_server.domain.chat import TokenUsage
from ailb_server.domain.target import Target
from ailb_server.telemetry.instruments import Buckets
from ailb_server.telemetry.metrics import Metrics
from ailb_server.telemetry.request_metrics import PAUSE_SECONDS

OUTCOMES = ("ok", "cancelled", "upstream_unavailable")
PHASES = ("auth", "admission", "context", "routing")
REFUSALS = ("invalid_request", "invalid_api_key", "overloaded", "shutting_down", "internal_error")


def busy(providers: int, models: int) -> Metrics:
    """So many providers with so many models each; every one has answered, been left and failed."""
    metrics = Metrics("ailb-1", "1.2.3")
    for target in targets(providers, models):
        _used(metrics, target)
    for reason in REFUSALS:
        metrics.refused(reason)
    metrics.requests.ended(None, "model_not_found", 0.01)
    for problem in ("missing", "malformed", "unknown", "expired", "revoked", "role"):
        metrics.key_refused(problem)
    _others(metrics)
    return metrics


def targets(providers: int, models: int) -> Sequence[Target]:
    """The targets of `busy`."""
    return [
        Target(f"provider-{p}", f"vendor/model-{p}-{m}")
        for p in range(providers)
        for m in range(models)
    ]


def _used(metrics: Metrics, target: Target) -> None:
    requests = metrics.requests
    pauses = Buckets(PAUSE_SECONDS)
    pauses.observe(0.02)
    for outcome in OUTCOMES:
        requests.ended(target, outcome, 1.5)
    requests.attempt(target, 0.3, None)
    requests.attempt(target, 0.3, "UPSTREAM_UNAVAILABLE")
    requests.first_token(target, 0.4)
    requests.pauses(target, pauses)
    requests.overhead(0.001)
    requests.phases(dict.fromkeys(PHASES, 0.0004))
    requests.used(target, TokenUsage(10, 20, 3, 0, 4), 1_000)


def _others(metrics: Metrics) -> None:
    known = targets(100, 100)
    instance, labels = metrics.instance, metrics.requests.has_labels
    keys = [(t.provider, t.model) for t in known if labels((t.provider, t.model))]
    for name in ("ailb_target_breaker_state", "ailb_target_active_attempts"):
        instance.watch(name, lambda: [(key, 1) for key in keys])
    instance.watch("ailb_store_connections", lambda: [(("used",), 1), (("idle",), 9)])
    instance.watch("ailb_log_lines_lost_total", lambda: [(("full",), 0), (("repeated",), 0)])
    for name in ("ailb_store_waiting_requests", "ailb_rate_limit_waiting_requests"):
        instance.watch_one(name, lambda: 0)
    for lane in ("query", "bulk"):
        metrics.embedding.embedded(lane, "ok", 0.01)
        metrics.embedding.texts(lane, 1, 1)
        metrics.embedding.waiting(lane, 0)
    _parts(metrics)


def _parts(metrics: Metrics) -> None:
    """What the server's parts add to the registry."""
    for module in pkgutil.iter_modules(package.__path__):
        made = {"instance_metrics", "request_metrics", "embedding_metrics", "knowledge_metrics"}
        if module.name.endswith("_metrics") and module.name not in made:
            found = import_module(f"{package.__name__}.{module.name}")
            name = "".join(part.capitalize() for part in module.name.split("_"))
            getattr(found, name)(metrics.registry)
