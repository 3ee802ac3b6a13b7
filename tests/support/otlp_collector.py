"""A collector of traces: OTLP over gRPC, on loopback."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from types import TracebackType
from typing import Self

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from typing_extensions import override

PATIENCE_S = 15.0


class Collector(service.TraceServiceServicer):
    """Keeps what it is sent: `spans`, and the `resources` that told them."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resources: list[dict[str, str]] = []
        self.raw: list[bytes] = []
        self._lock = threading.Lock()
        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        add: Callable[..., None] = service.add_TraceServiceServicer_to_server
        add(self, self._server)
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.stop(None).wait()

    @override
    def Export(
        self, request: pb.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> pb.ExportTraceServiceResponse:
        with self._lock:
            self.raw.append(request.SerializeToString())
            for told in request.resource_spans:
                attributes = told.resource.attributes
                self.resources.append({a.key: a.value.string_value for a in attributes})
                self.spans.extend(span for scope in told.scope_spans for span in scope.spans)
        return pb.ExportTraceServiceResponse()

    def until(self, enough: Callable[[Sequence[Span]], bool]) -> Sequence[Span]:
        """The spans, once they are `enough`; fails after PATIENCE_S."""
        end = time.monotonic() + PATIENCE_S
        while not enough(self.spans):
            names = sorted(span.name for span in self.spans)
            assert time.monotonic() < end, f"there are only {names}"
            time.sleep(0.05)
        return list(self.spans)
