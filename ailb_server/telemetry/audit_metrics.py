"""Metrics of the audit log."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge


class AuditMetrics:
    """See `access.audit_queue.AuditObserver`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lost = Counter(
            "ailb_audit_lost_events_total",
            "Events that the audit log will not have.",
            registry=registry,
        )
        self._waiting = Gauge(
            "ailb_audit_waiting_rows",
            "Rows that wait to be written to the audit log.",
            registry=registry,
        )

    def watch(self, waiting: Callable[[], int]) -> None:
        """Asked whenever the metrics are."""
        self._waiting.set_function(waiting)

    def lost(self, events: int) -> None:
        """The audit log will not have them."""
        self._lost.inc(events)
