"""Spans wait in a bounded place, and an end waits for no collector that is away."""

import subprocess
import sys
import threading
from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from typing_extensions import override

from ailb_server.telemetry.otel import MAX_QUEUE, Collector, OtelTracing

COLLECTOR = Collector("http://127.0.0.1:9", 1, {"service.name": "ailb"})


class _Stuck(SpanExporter):
    """Takes nothing until `opened` is set, and then fails."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.calls = 0

    @override
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.calls += 1
        self.opened.wait(30)
        return SpanExportResult.FAILURE


def test_a_collector_that_hangs_costs_spans_and_not_memory() -> None:
    exporter = _Stuck()
    tracing = OtelTracing(COLLECTOR, exporter)
    for _ in range(MAX_QUEUE + 500):
        tracing.serve("call", {}).end()
    assert tracing.lost() == 500
    exporter.opened.set()
    tracing.close()
    # After the first failure the rest is given up.
    assert tracing.lost() == MAX_QUEUE + 500
    assert exporter.calls <= 2


def test_a_span_goes_on_with_its_callers_trace() -> None:
    exporter = _Stuck()
    exporter.opened.set()
    tracing = OtelTracing(COLLECTOR, exporter)
    trace = "0af7651916cd43dd8448eb211c80319c"
    span = tracing.serve("call", {"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    child = span.child("within")
    assert span.trace_id == child.trace_id == trace
    assert child.headers()["traceparent"].startswith(f"00-{trace}-")
    tracing.close()


def test_who_does_not_trace_imports_nothing_of_it() -> None:
    code = (
        "import sys, ailb_server.app.gateway\n"
        "print([n for n in sys.modules if n.startswith('opentelemetry.')])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.strip() == "[]"
