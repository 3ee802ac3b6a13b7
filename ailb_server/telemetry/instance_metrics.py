"""Metrics of the instance itself: what passes it, what waits in it, how its targets stand."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from prometheus_client import CollectorRegistry

from ailb_server.telemetry.instruments import Histogram, MetricSpec, Readings, Watched
from ailb_server.telemetry.vitals import Vitals

FULL_WEIGHT = 100
LAG_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)

# The values of ailb_target_breaker_state.
BREAKER_VALUES: Mapping[str, int] = MappingProxyType({"closed": 0, "half_open": 1, "open": 2})

_TARGET = ("provider", "model")
_SPECS = (
    MetricSpec("ailb_active_chats", "gauge", "Requests that run."),
    MetricSpec("ailb_active_streams", "gauge", "Those of them that are streamed."),
    MetricSpec("ailb_active_calls", "gauge", "gRPC calls of every kind that run."),
    MetricSpec("ailb_calls_total", "counter", "gRPC calls of every kind."),
    MetricSpec("ailb_received_bytes_total", "counter", "Messages from callers, without headers."),
    MetricSpec("ailb_sent_bytes_total", "counter", "Messages to callers, without headers."),
    MetricSpec(
        "ailb_traffic_weight", "gauge", "What this instance asks of its load balancer, 0 to 100."
    ),
    MetricSpec(
        "ailb_target_breaker_state",
        "gauge",
        "The target's circuit: 0 closed, 1 half open, 2 open or AILB's credential refused.",
        _TARGET,
    ),
    MetricSpec("ailb_target_active_attempts", "gauge", "Attempts that run.", _TARGET),
    MetricSpec(
        "ailb_rate_limit_waiting_requests",
        "gauge",
        "Requests that wait until a provider's rate limit lets them through.",
    ),
    MetricSpec(
        "ailb_store_connections",
        "gauge",
        "Connections to Postgres, by state: used, idle.",
        ("state",),
    ),
    MetricSpec("ailb_store_waiting_requests", "gauge", "Who waits for one of those."),
    MetricSpec(
        "ailb_log_lines_lost_total",
        "counter",
        "Log lines that nobody will read, by why: full (whoever reads them is too slow), repeated.",
        ("why",),
    ),
    MetricSpec(
        "ailb_spans_lost_total",
        "counter",
        "Spans of traces that could not be sent to the collector.",
    ),
)


class InstanceMetrics:
    """Asked whenever the metrics are; what nobody watches has no series."""

    def __init__(self, registry: CollectorRegistry, vitals: Vitals) -> None:
        self._reads: dict[str, Callable[[], Readings]] = dict.fromkeys(
            (spec.name for spec in _SPECS), tuple
        )
        for spec in _SPECS:
            Watched(spec, partial(self._read, spec.name), registry)
        lag = (
            "ailb_event_loop_lag_seconds",
            "How late the event loop wakes up who asked for it.",
            (),
        )
        self.loop_lag = Histogram(lag, LAG_SECONDS, registry).labels()
        self._watch_vitals(vitals)
        self.follow_weight(lambda: FULL_WEIGHT)

    def watch(self, name: str, read: Callable[[], Readings]) -> None:
        """Values by labels, for a metric of that name. Raises KeyError for an unknown one."""
        if name not in self._reads:
            raise KeyError(name)
        self._reads[name] = read

    def watch_one(self, name: str, read: Callable[[], float]) -> None:
        """The value of a metric without labels."""
        self.watch(name, lambda: [((), read())])

    def follow_weight(self, read: Callable[[], int]) -> None:
        """See `ailb_traffic_weight`."""
        self._weight = read
        self.watch_one("ailb_traffic_weight", read)

    def weight(self) -> int:
        """What this instance asks of its load balancer now, 0 to 100."""
        return self._weight()

    def _watch_vitals(self, vitals: Vitals) -> None:
        traffic = vitals.traffic
        self.watch_one("ailb_active_chats", lambda: vitals.active_requests)
        self.watch_one("ailb_active_streams", lambda: vitals.active_streams)
        self.watch_one("ailb_active_calls", lambda: traffic.active)
        self.watch_one("ailb_calls_total", lambda: traffic.calls)
        self.watch_one("ailb_received_bytes_total", lambda: traffic.received)
        self.watch_one("ailb_sent_bytes_total", lambda: traffic.sent)

    def _read(self, name: str) -> Readings:
        return self._reads[name]()
