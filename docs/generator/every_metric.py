"""Every metric that an instance can have, as it is documented."""

import pkgutil
from collections.abc import Iterable
from importlib import import_module

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

import ailb_server.telemetry as package
from ailb_server.telemetry.instruments import MetricSpec
from ailb_server.telemetry.metrics import Metrics

_SUFFIX = "_metrics"
_TOTAL = "_total"


def every_metric(metrics: Metrics | None = None) -> list[MetricSpec]:
    """Those of `metrics`, or of an instance, and those that its parts add: of each class
    `XMetrics(registry)` in a module `x_metrics` that is not part of it yet."""
    metrics = metrics or Metrics("ailb-1", "0")
    known = _described(metrics.registry)
    names = {spec.name for spec in known}
    for module in pkgutil.iter_modules(package.__path__):
        if module.name.endswith(_SUFFIX):
            for spec in _of_module(module.name):
                if spec.name not in names:
                    known.append(spec)
    return sorted(known, key=lambda spec: spec.name)


def _of_module(name: str) -> list[MetricSpec]:
    module = import_module(f"{package.__name__}.{name}")
    wanted = "".join(part.capitalize() for part in name.split("_"))
    registry = CollectorRegistry()
    try:
        getattr(module, wanted)(registry)
    except TypeError:
        # Made by `Metrics` itself, of more than a registry.
        return []
    return _described(registry)


def _described(registry: CollectorRegistry) -> list[MetricSpec]:
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
