"""Every metric that an instance can have, for documents and tests."""

import pkgutil
from importlib import import_module

from prometheus_client import CollectorRegistry

import ailb_server.telemetry as package
from ailb_server.telemetry.described import described
from ailb_server.telemetry.instruments import MetricSpec
from ailb_server.telemetry.metrics import Metrics

_SUFFIX = "_metrics"


def every_metric(metrics: Metrics | None = None) -> list[MetricSpec]:
    """Those of `metrics`, or of an instance, and those that its parts add: of each class
    `XMetrics(registry)` in a module `x_metrics` that is not part of it yet."""
    metrics = metrics or Metrics("ailb-1", "0")
    known = described(metrics.registry)
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
    return described(registry)
