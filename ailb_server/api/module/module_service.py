"""`marchproxy.ModuleService`: hands each call to who answers it."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, TypeAlias, TypeVar

import grpc
from typing_extensions import override

from ailb_server.api.module.calls import ModuleCalls
from ailb_server.api.module.failing import done, or_failed
from ailb_server.domain.errors import NotImplementedHereError
from marchproxy import module_pb2 as pb
from marchproxy import module_pb2_grpc as pb_grpc

A = TypeVar("A")

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class ModuleService(pb_grpc.ModuleServiceServicer):
    """The edge has checked the role. Failures: see `or_failed`."""

    def __init__(self, calls: ModuleCalls) -> None:
        self._calls = calls

    @override
    async def GetStatus(
        self, request: pb.GetStatusRequest, context: Context
    ) -> pb.GetStatusResponse:
        """From what this instance knows anyway."""
        return await _given(self._calls.status, "status").get_status(request)

    @override
    async def HealthCheck(
        self, request: pb.HealthCheckRequest, context: Context
    ) -> pb.HealthCheckResponse:
        """By means that cost nothing."""
        return await _given(self._calls.status, "health").health_check(request)

    @override
    async def GetStats(self, request: pb.GetStatsRequest, context: Context) -> pb.GetStatsResponse:
        """A reset is this service's view only."""
        return await _given(self._calls.figures, "figures").get_stats(request)

    @override
    async def GetMetrics(
        self, request: pb.GetMetricsRequest, context: Context
    ) -> pb.GetMetricsResponse:
        """As they are now."""
        return await _given(self._calls.figures, "figures").get_metrics(request)

    @override
    async def StreamMetrics(
        self, request: pb.StreamMetricsRequest, context: Context
    ) -> AsyncIterator[pb.StreamMetricsResponse]:
        """Until the client leaves or this instance drains."""
        stream = _given(self._calls.figures, "figures").stream_metrics(request)
        async with aclosing(stream):
            async for response in stream:
                yield response

    @override
    async def GetRoutes(
        self, request: pb.GetRoutesRequest, context: Context
    ) -> pb.GetRoutesResponse:
        """Of all instances."""
        return await _given(self._calls.routes, "model routes").get_routes(request)

    @override
    async def UpdateRoutes(
        self, request: pb.UpdateRoutesRequest, context: Context
    ) -> pb.UpdateRoutesResponse:
        """For all instances."""
        answers = _given(self._calls.routes, "model routes")
        return await or_failed(pb.UpdateRoutesResponse, answers.update_routes(request))

    @override
    async def DeleteRoute(
        self, request: pb.DeleteRouteRequest, context: Context
    ) -> pb.DeleteRouteResponse:
        """For all instances."""
        answers = _given(self._calls.routes, "model routes")
        return await or_failed(pb.DeleteRouteResponse, answers.delete_route(request))

    @override
    async def CanHandle(
        self, request: pb.CanHandleRequest, context: Context
    ) -> pb.CanHandleResponse:
        """By the routing table and what is up now."""
        return await _given(self._calls.routes, "model routes").can_handle(request)

    @override
    async def SetTrafficWeight(
        self, request: pb.SetTrafficWeightRequest, context: Context
    ) -> pb.SetTrafficWeightResponse:
        """Of this instance's version, or of targets within a route."""
        answers = _given(self._calls.weights, "weights")
        return await or_failed(pb.SetTrafficWeightResponse, answers.set_traffic_weight(request))

    @override
    async def GetActiveVersion(
        self, request: pb.GetActiveVersionRequest, context: Context
    ) -> pb.GetActiveVersionResponse:
        """With all weights."""
        return await _given(self._calls.weights, "weights").get_active_version(request)

    @override
    async def PromoteVersion(
        self, request: pb.PromoteVersionRequest, context: Context
    ) -> pb.PromoteVersionResponse:
        """At once or in steps."""
        answers = _given(self._calls.weights, "weights")
        return await or_failed(pb.PromoteVersionResponse, answers.promote_version(request))

    @override
    async def Rollback(self, request: pb.RollbackRequest, context: Context) -> pb.RollbackResponse:
        """To a former version."""
        answers = _given(self._calls.weights, "weights")
        return await or_failed(pb.RollbackResponse, answers.rollback(request))

    @override
    async def GetRateLimits(
        self, request: pb.GetRateLimitsRequest, context: Context
    ) -> pb.GetRateLimitsResponse:
        """Of all instances."""
        return await _given(self._calls.limits, "rate limits").get_rate_limits(request)

    @override
    async def SetRateLimit(
        self, request: pb.SetRateLimitRequest, context: Context
    ) -> pb.SetRateLimitResponse:
        """For all instances."""
        answers = _given(self._calls.limits, "rate limits")
        return await done(pb.SetRateLimitResponse, answers.set_rate_limit(request))

    @override
    async def ApplyRateLimit(
        self, request: pb.ApplyRateLimitRequest, context: Context
    ) -> pb.ApplyRateLimitResponse:
        """As `SetRateLimit`."""
        answers = _given(self._calls.limits, "rate limits")
        return await done(pb.ApplyRateLimitResponse, answers.set_rate_limit(request))

    @override
    async def RemoveRateLimit(
        self, request: pb.RemoveRateLimitRequest, context: Context
    ) -> pb.RemoveRateLimitResponse:
        """For all instances."""
        answers = _given(self._calls.limits, "rate limits")
        return await done(pb.RemoveRateLimitResponse, answers.remove_rate_limit(request))

    @override
    async def GetInstances(
        self, request: pb.GetInstancesRequest, context: Context
    ) -> pb.GetInstancesResponse:
        """By their heartbeats."""
        return await _given(self._calls.instances, "instances").get_instances(request)

    @override
    async def Scale(self, request: pb.ScaleRequest, context: Context) -> pb.ScaleResponse:
        """Records the wish."""
        answers = _given(self._calls.instances, "instances")
        return await or_failed(pb.ScaleResponse, answers.scale(request))

    @override
    async def Reload(self, request: pb.ReloadRequest, context: Context) -> pb.ReloadResponse:
        """A bad configuration changes nothing."""
        answers = _given(self._calls.configuration, "configuration")
        return await done(pb.ReloadResponse, answers.reload(request))

    @override
    async def GetConfig(
        self, request: pb.GetConfigRequest, context: Context
    ) -> pb.GetConfigResponse:
        """Without secrets."""
        return await _given(self._calls.configuration, "configuration").get_config(request)

    @override
    async def UpdateConfig(
        self, request: pb.UpdateConfigRequest, context: Context
    ) -> pb.UpdateConfigResponse:
        """For all instances."""
        answers = _given(self._calls.configuration, "configuration")
        return await or_failed(pb.UpdateConfigResponse, answers.update_config(request))

    @override
    async def Shutdown(self, request: pb.ShutdownRequest, context: Context) -> pb.ShutdownResponse:
        """Answers before the end begins."""
        answers = _given(self._calls.end, "shutdown")
        return await done(pb.ShutdownResponse, answers.shutdown(request))


def _given(answers: A | None, subject: str) -> A:
    if answers is None:
        raise NotImplementedHereError(f"This instance does not serve {subject} to MarchProxy.")
    return answers
