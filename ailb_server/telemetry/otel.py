"""Traces by OpenTelemetry. Imported only where a collector is configured: 100 ms and 5 MB.

The exporter sends from a thread of its own, out of a queue that forgets what it has no room for: a
collector that is away costs spans, never time or memory.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace import Span as ApiSpan
from opentelemetry.trace import SpanKind, Status, StatusCode, format_trace_id, set_span_in_context
from opentelemetry.trace import Tracer as ApiTracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from typing_extensions import override

from ailb_server.telemetry.tracing import CANCELLED, Kind, Span, Value

WEIGHT = "ailb.traffic_weight"
MAX_QUEUE = 2048
_BATCH = 512
_EVERY_MS = 2000
_EXPORT_S = 3.0
_MAX_TEXT = 4096
_NS = 1_000_000_000
_KINDS: Mapping[Kind, SpanKind] = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
}


@dataclass(frozen=True, slots=True)
class Collector:
    """Where spans go: an OTLP endpoint of gRPC, `http://host:4317`. `share` of the traces that
    begin here are kept (0 to 1); for others their callers have decided. `resource` is who tells."""

    endpoint: str
    share: float
    resource: Mapping[str, str]


class OtelTracing:
    """Fits `telemetry.tracing.Tracer`. `weight` is what the instance asks of its load balancer: a
    resource cannot change, so that the first span of each trace tells it."""

    def __init__(
        self,
        collector: Collector,
        exporter: SpanExporter | None = None,
        weight: Callable[[], int] | None = None,
    ) -> None:
        self._weight = weight
        self._sending = _Sending(exporter or _exporter(collector.endpoint))
        self._provider = TracerProvider(
            sampler=ParentBasedTraceIdRatio(collector.share),
            resource=Resource.create(dict(collector.resource)),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(_Bounded(self._sending))
        self._tracer = self._provider.get_tracer("ailb")
        self._propagator = TraceContextTextMapPropagator()

    def serve(self, name: str, headers: Mapping[str, str]) -> Span:
        """See `Tracer`."""
        parent = self._propagator.extract(headers, Context())
        told = None if self._weight is None else {WEIGHT: self._weight()}
        span = self._tracer.start_span(name, parent, SpanKind.SERVER, told)
        return _OtelSpan(self._tracer, span)

    def lost(self) -> int:
        """Spans that did not reach the collector."""
        return self._sending.failed + self._sending.refused

    def close(self) -> None:
        """Sends what waits; after the first failure the rest is lost. Blocks for some seconds at
        most: for a thread."""
        self._sending.closing = True
        self._provider.shutdown()


class _Sending(SpanExporter):
    """Counts what became of the spans. `taken` and `refused` are the loop's, the rest its
    thread's."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.taken = 0
        self.refused = 0
        self.done = 0
        self.failed = 0
        self.closing = False
        self._down = False

    @override
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if not (self.closing and self._down):
            self._down = self._exporter.export(spans) is not SpanExportResult.SUCCESS
        if self._down:
            self.failed += len(spans)
        self.done += len(spans)
        return SpanExportResult.FAILURE if self._down else SpanExportResult.SUCCESS

    @override
    def shutdown(self) -> None:
        self._exporter.shutdown()

    @override
    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class _Bounded(BatchSpanProcessor):
    """Refuses the newest where OpenTelemetry's own forgets the oldest and says so for each."""

    def __init__(self, sending: _Sending) -> None:
        super().__init__(sending, MAX_QUEUE, _EVERY_MS, _BATCH)
        self._sending = sending

    @override
    def on_end(self, span: ReadableSpan) -> None:
        sending = self._sending
        if sending.taken - sending.done >= MAX_QUEUE:
            sending.refused += 1
        elif span.context is not None and span.context.trace_flags.sampled:
            sending.taken += 1
            super().on_end(span)


class _OtelSpan:
    """Fits `telemetry.tracing.Span`."""

    __slots__ = ("_span", "_tracer")

    def __init__(self, tracer: ApiTracer, span: ApiSpan) -> None:
        self._tracer = tracer
        self._span = span

    def tell(self, attributes: Mapping[str, Value]) -> None:
        """See `Span`."""
        for name, value in attributes.items():
            told = value[:_MAX_TEXT] if isinstance(value, str) else value
            self._span.set_attribute(name, told)

    def fail(self, reason: str) -> None:
        """See `Span`. Who leaves is no error."""
        self._span.set_attribute("error.type", reason)
        if reason != CANCELLED:
            self._span.set_status(Status(StatusCode.ERROR))

    def child(self, name: str, kind: Kind = "internal", *, ago_s: float = 0.0) -> Span:
        """See `Span`."""
        span = self._tracer.start_span(
            name,
            set_span_in_context(self._span, Context()),
            _KINDS[kind],
            start_time=time.time_ns() - int(ago_s * _NS),
        )
        return _OtelSpan(self._tracer, span)

    def headers(self) -> Mapping[str, str]:
        """See `Span`."""
        carrier: dict[str, str] = {}
        context = set_span_in_context(self._span, Context())
        TraceContextTextMapPropagator().inject(carrier, context)
        return carrier

    def end(self) -> None:
        """See `Span`."""
        self._span.end()

    @property
    def trace_id(self) -> str:
        """See `Span`."""
        return format_trace_id(self._span.get_span_context().trace_id)


def _exporter(endpoint: str) -> SpanExporter:
    # Its other settings are OpenTelemetry's own variables: headers, certificates, compression.
    return OTLPSpanExporter(endpoint, insecure=endpoint.startswith("http://"), timeout=_EXPORT_S)
