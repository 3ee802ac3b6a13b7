"""GetStats, GetMetrics, StreamMetrics: from the counters themselves."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterator
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp
from prometheus_client import CollectorRegistry

from ailb_server.api.module.failing import now
from ailb_server.api.module.messages import beside, module_stats
from ailb_server.domain.errors import InvalidRequestError
from ailb_server.telemetry.vitals import Vitals
from marchproxy import module_pb2 as pb
from marchproxy import types_pb2

DEFAULT_INTERVAL_S = 10
MAX_INTERVAL_S = 3600
# Clocks differ, and a request takes its time: what a caller's "now" may be off.
_TOLERANCE_S = 10.0
MAX_NAMES = 1000
# Of the fields of ModuleStats, those that are figures.
_FIGURES = (
    "total_requests",
    "successful_requests",
    "failed_requests",
    "active_connections",
    "total_connections",
    "avg_latency_ms",
    "p50_latency_ms",
    "p95_latency_ms",
    "p99_latency_ms",
    "bytes_received",
    "bytes_sent",
    "cpu_usage_percent",
    "memory_usage_mb",
)
# Left out unless they are named: they are many, and of no use without the rest of a histogram.
_MANY = ("_bucket", "_created")


@dataclass(frozen=True, slots=True)
class FigureCalls:
    """See `FigureAnswers`. `draining` is set once this instance ends."""

    module_id: str
    vitals: Vitals
    registry: CollectorRegistry
    draining: asyncio.Event
    wall: Callable[[], float] = time.time

    async def get_stats(self, request: pb.GetStatsRequest) -> pb.GetStatsResponse:
        """With `reset_counters` what is told now is not told again; metrics are not reset."""
        stats = module_stats(self.module_id, self.vitals.snapshot())
        if request.reset_counters:
            self.vitals.reset()
        return pb.GetStatsResponse(stats=stats)

    async def get_metrics(self, request: pb.GetMetricsRequest) -> pb.GetMetricsResponse:
        """Only what is now is kept. Raises InvalidRequestError for a range without it."""
        self._require_now(request)
        metrics = self._metrics(_names(request.metric_names))
        return pb.GetMetricsResponse(metrics=metrics, collected_at=metrics.collected_at)

    async def stream_metrics(
        self, request: pb.StreamMetricsRequest
    ) -> AsyncGenerator[pb.StreamMetricsResponse, None]:
        """The first at once. Ends with the caller, or when this instance drains."""
        interval_s = request.interval_seconds or DEFAULT_INTERVAL_S
        if not 1 <= interval_s <= MAX_INTERVAL_S:
            raise InvalidRequestError(
                f"`interval_seconds` must be from 1 to {MAX_INTERVAL_S};"
                f" 0 is {DEFAULT_INTERVAL_S}.",
                param="interval_seconds",
            )
        names = _names(request.metric_names)
        while not self.draining.is_set():
            metrics = self._metrics(names)
            yield pb.StreamMetricsResponse(metrics=metrics, timestamp=metrics.collected_at)
            await _either(self.draining, interval_s)

    def _require_now(self, request: pb.GetMetricsRequest) -> None:
        start, end = request.start_time, request.end_time
        moment = self.wall()
        starts = not request.HasField("start_time") or _s(start) <= moment + _TOLERANCE_S
        ends = not request.HasField("end_time") or _s(end) >= moment - _TOLERANCE_S
        both = request.HasField("start_time") and request.HasField("end_time")
        if not (starts and ends) or (both and _s(start) > _s(end)):
            raise InvalidRequestError(
                "Only the present figures are kept here: `start_time` and `end_time` must have now"
                " between them. Past ones are with whoever scrapes /metrics.",
                param="start_time" if not starts else "end_time",
            )

    def _metrics(self, names: Collection[str]) -> types_pb2.ModuleMetrics:
        at = now()
        points = [*self._own(names, at), *self._registered(names, at)]
        return types_pb2.ModuleMetrics(
            instance_id=self.module_id,
            module_type=types_pb2.MODULE_TYPE_AILB,
            metrics=points,
            collected_at=at,
        )

    def _own(self, names: Collection[str], at: Timestamp) -> Iterator[types_pb2.MetricDataPoint]:
        signs = self.vitals.snapshot()
        stats = module_stats(self.module_id, signs)
        figures = {name: float(getattr(stats, name)) for name in _FIGURES} | dict(beside(signs))
        for name, value in figures.items():
            if not names or name in names:
                yield types_pb2.MetricDataPoint(name=name, value=value, timestamp=at)

    def _registered(
        self, names: Collection[str], at: Timestamp
    ) -> Iterator[types_pb2.MetricDataPoint]:
        for metric in self.registry.collect():
            whole = metric.name in names
            for sample in metric.samples:
                wanted = whole or sample.name in names if names else not sample.name.endswith(_MANY)
                if wanted:
                    yield types_pb2.MetricDataPoint(
                        name=sample.name, value=sample.value, labels=sample.labels, timestamp=at
                    )


def _names(names: Collection[str]) -> Collection[str]:
    if len(names) > MAX_NAMES:
        raise InvalidRequestError(
            f"`metric_names` must be at most {MAX_NAMES}.", param="metric_names"
        )
    return frozenset(names)


def _s(at: Timestamp) -> float:
    return at.seconds + at.nanos / 1e9


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Returns once the event is set, or after so long."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
