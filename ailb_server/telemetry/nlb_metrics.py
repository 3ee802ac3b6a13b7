"""Metrics of the registration at MarchProxy's load balancer."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge

_OUTCOMES = ("ok", "away", "late", "unknown", "exists", "refused")


class NlbMetrics:
    """See `marchproxy.registration.Observer`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registered = Gauge(
            "ailb_nlb_registered",
            "1 while the load balancer of NLB_ADDRESS knows this instance, else 0.",
            registry=registry,
        )
        self._registrations = Counter(
            "ailb_nlb_registrations_total",
            "Tries to register there: ok, or away, late, unknown, exists, refused.",
            ("outcome",),
            registry=registry,
        )
        self._heartbeats = Counter(
            "ailb_nlb_heartbeats_total",
            "Heartbeats to it: ok, or why they came to nothing.",
            ("outcome",),
            registry=registry,
        )
        self._last = Gauge(
            "ailb_nlb_last_heartbeat_timestamp_seconds",
            "When it acknowledged the last heartbeat; 0 before the first.",
            registry=registry,
        )
        for outcome in _OUTCOMES:
            self._registrations.labels(outcome)
            self._heartbeats.labels(outcome)

    def registered(self, *, yes: bool) -> None:
        """Whether the load balancer knows this instance."""
        self._registered.set(int(yes))

    def registration(self, outcome: str) -> None:
        """A try to register."""
        self._registrations.labels(outcome).inc()

    def heartbeat(self, outcome: str) -> None:
        """A heartbeat."""
        self._heartbeats.labels(outcome).inc()
        if outcome == "ok":
            self._last.set(time.time())
