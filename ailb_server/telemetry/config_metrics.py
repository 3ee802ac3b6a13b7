"""Metrics of the configuration in force."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class ConfigMetrics:
    """See `app.reloading.Reloading`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._version = Gauge(
            "ailb_config_version",
            "Configurations that this process has put in force so far.",
            registry=registry,
        )
        self._applied = Gauge(
            "ailb_config_applied_timestamp_seconds",
            "When the configuration in force was put in force.",
            registry=registry,
        )
        self._reloads = Counter(
            "ailb_config_reloads_total",
            "Reloads and changes of the configuration: ok, or refused and nothing changed.",
            ("outcome",),
            registry=registry,
        )
        for outcome in ("ok", "refused"):
            self._reloads.labels(outcome)

    def applied(self, version: int, at: float) -> None:
        """A configuration is in force; `at` in seconds since 1970."""
        self._version.set(version)
        self._applied.set(at)

    def reloaded(self, *, ok: bool) -> None:
        """A reload or a change, not the start."""
        self._reloads.labels("ok" if ok else "refused").inc()
