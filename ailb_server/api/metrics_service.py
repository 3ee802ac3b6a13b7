"""`ailb.v1.MetricsService`: Prometheus's exposition over gRPC, and so over REST."""

from typing import Any, TypeAlias

import grpc
from google.api.httpbody_pb2 import HttpBody
from typing_extensions import override

from ailb.v1 import metrics_service_pb2 as pb
from ailb.v1 import metrics_service_pb2_grpc
from ailb_server.telemetry.metrics import CONTENT_TYPE, Metrics

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class MetricsService(metrics_service_pb2_grpc.MetricsServiceServicer):
    """All metrics of this instance."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    @override
    async def GetMetrics(
        self, request: pb.GetMetricsRequest, context: Context
    ) -> pb.GetMetricsResponse:
        """In the text format."""
        body = HttpBody(content_type=CONTENT_TYPE, data=self._metrics.exposition())
        return pb.GetMetricsResponse(body=body)
