"""Metrics of limits and budgets."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class LimitMetrics:
    """See `access.leases.LeaseObserver` and `pipeline.admission.AdmissionObserver`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._refused = Counter(
            "ailb_limit_refusals_total",
            "Requests refused for a limit, by whose it is and what it counts.",
            ("scope", "quantity"),
            registry=registry,
        )
        self._unchecked = Counter(
            "ailb_limits_unchecked_total",
            "Requests whose limits could not be checked, by what LIMITS_OUTAGE made of them.",
            ("decision",),
            registry=registry,
        )
        self._unpriced = Counter(
            "ailb_unpriced_requests_total",
            "Requests of keys with a budget that count as free: their model has no price.",
            registry=registry,
        )
        self._seconds = Histogram(
            "ailb_limits_exchange_seconds",
            "Statements that lease slices of limits.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._leases = Counter(
            "ailb_limits_leases_total", "Leases renewed by those.", registry=registry
        )
        self._up = Gauge("ailb_limits_up", "1 while their store answers.", registry=registry)
        self._up.set(1)

    def refused(self, scope: str, quantity: str) -> None:
        """A request beyond a limit."""
        self._refused.labels(scope, quantity).inc()

    def unchecked(self, *, allowed: bool) -> None:
        """A request whose limits could not be checked."""
        self._unchecked.labels("allowed" if allowed else "denied").inc()

    def unpriced(self) -> None:
        """A request within a budget whose price is not known."""
        self._unpriced.inc()

    def exchanged(self, seconds: float, limits: int) -> None:
        """One statement for so many limits."""
        self._seconds.observe(seconds)
        self._leases.inc(limits)

    def store_up(self, *, up: bool) -> None:
        """The store answers, or it does not."""
        self._up.set(up)
