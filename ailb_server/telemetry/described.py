"""What a registry holds, as it is documented."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from ailb_server.telemetry.instruments import MetricSpec

_TOTAL = "_total"


def described(registry: CollectorRegistry) -> list[MetricSpec]:
    """Every metric of ours, by name; those of prometheus_client itself are not among them."""
    # prometheus_client tells its collectors and their labels to nobody.
    collectors: Iterable[Collector] = list(registry._collector_to_names)
    specs = (_spec(collector) for collector in collectors)
    return sorted((spec for spec in specs if spec is not None), key=lambda spec: spec.name)


def _spec(collector: Collector) -> MetricSpec | None:
    told = getattr(collector, "spec", None)
    if isinstance(told, MetricSpec):
        return told
    if isinstance(collector, MetricWrapperBase):
        kind = collector._type or "untyped"
        name = collector._name + (_TOTAL if kind == "counter" else "")
        return MetricSpec(name, kind, collector._documentation, tuple(collector._labelnames))
    return None
