"""`marchproxy.ModuleService`: hands each call to who answers it."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, TypeAlias, TypeVar

import grpc
from typing_extensions import override

from ailb_server.api.module.calls import ModuleCalls
from ailb_server.api.module.desk import Change, Desk
from ailb_server.api.module.failing import telling
from ailb_server.domain.errors import NotImplementedHereError
from marchproxy import module_pb2 as pb
from marchproxy import module_pb2_grpc as pb_grpc

A = TypeVar("A")

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class ModuleService(pb_grpc.ModuleServiceServicer):
    """The edge has checked the role. Failures of what changes something: see `or_failed`."""

    def __init__(self, calls: ModuleCalls, desk: Desk) -> None:
        self._calls = calls
        self._desk = desk

    @override
    async def GetStatus(
        self, request: pb.GetStatusRequest, context: Context
    ) -> pb.GetStatusResponse:
        """From what this instance knows anyway."""
        answers = _given(self._calls.status, "status")
        return await self._desk.read(request, context, answers.get_status)

    @override
    async def HealthCheck(
        self, request: pb.HealthCheckRequest, context: Context
    ) -> pb.HealthCheckResponse:
        """By means that cost nothing."""
        answers = _given(self._calls.status, "health")
        return await self._desk.read(request, context, answers.health_check)

    @override
    async def GetStats(self, request: pb.GetStatsRequest, context: Context) -> pb.GetStatsResponse:
        """A reset is this service's view only."""
        answers = _given(self._calls.figures, "figures")
        return await self._desk.read(request, context, answers.get_stats)

    @override
    async def GetMetrics(
        self, request: pb.GetMetricsRequest, context: Context
    ) -> pb.GetMetricsResponse:
        """As they are now."""
        answers = _given(self._calls.figures, "figures")
        return await self._desk.read(request, context, answers.get_metrics)

    @override
    async def StreamMetrics(
        self, request: pb.StreamMetricsRequest, context: Context
    ) -> AsyncIterator[pb.StreamMetricsResponse]:
        """Until the client leaves or this instance drains."""
        answers = _given(self._calls.figures, "figures")
        await self._desk.enter(request, context)
        stream = answers.stream_metrics(request)
        async with aclosing(stream):
            async for response in stream:
                yield response

    @override
    async def GetRoutes(
        self, request: pb.GetRoutesRequest, context: Context
    ) -> pb.GetRoutesResponse:
        """Of all instances."""
        answers = _given(self._calls.routes, "model routes")
        return await self._desk.read(request, context, answers.get_routes, shared=True)

    @override
    async def UpdateRoutes(
        self, request: pb.UpdateRoutesRequest, context: Context
    ) -> pb.UpdateRoutesResponse:
        """For all instances."""
        answers = _given(self._calls.routes, "model routes")
        change = Change("route.updated", "all", shared=True)
        return await self._desk.write(
            request, context, answers.update_routes, pb.UpdateRoutesResponse, change
        )

    @override
    async def DeleteRoute(
        self, request: pb.DeleteRouteRequest, context: Context
    ) -> pb.DeleteRouteResponse:
        """For all instances."""
        answers = _given(self._calls.routes, "model routes")
        change = Change("route.deleted", "all", shared=True)
        return await self._desk.write(
            request, context, answers.delete_route, pb.DeleteRouteResponse, change
        )

    @override
    async def CanHandle(
        self, request: pb.CanHandleRequest, context: Context
    ) -> pb.CanHandleResponse:
        """By the routing table and what is up now."""
        answers = _given(self._calls.routes, "model routes")
        return await self._desk.read(request, context, answers.can_handle, shared=True)

    @override
    async def SetTrafficWeight(
        self, request: pb.SetTrafficWeightRequest, context: Context
    ) -> pb.SetTrafficWeightResponse:
        """Of this instance's version, or of targets within a route."""
        answers = _given(self._calls.weights, "weights")
        change = Change("weight.set", "all", shared=True)
        return await self._desk.write(
            request, context, answers.set_traffic_weight, pb.SetTrafficWeightResponse, change
        )

    @override
    async def GetActiveVersion(
        self, request: pb.GetActiveVersionRequest, context: Context
    ) -> pb.GetActiveVersionResponse:
        """With all weights."""
        answers = _given(self._calls.weights, "weights")
        return await self._desk.read(request, context, answers.get_active_version, shared=True)

    @override
    async def PromoteVersion(
        self, request: pb.PromoteVersionRequest, context: Context
    ) -> pb.PromoteVersionResponse:
        """At once or in steps."""
        answers = _given(self._calls.weights, "weights")
        change = Change("version.promoted", "all", shared=True)
        return await self._desk.write(
            request, context, answers.promote_version, pb.PromoteVersionResponse, change
        )

    @override
    async def Rollback(self, request: pb.RollbackRequest, context: Context) -> pb.RollbackResponse:
        """To a former version."""
        answers = _given(self._calls.weights, "weights")
        change = Change("version.rolled_back", "all", shared=True)
        return await self._desk.write(
            request, context, answers.rollback, pb.RollbackResponse, change
        )

    @override
    async def GetRateLimits(
        self, request: pb.GetRateLimitsRequest, context: Context
    ) -> pb.GetRateLimitsResponse:
        """Of all instances."""
        answers = _given(self._calls.limits, "rate limits")
        return await self._desk.read(request, context, answers.get_rate_limits, shared=True)

    @override
    async def SetRateLimit(
        self, request: pb.SetRateLimitRequest, context: Context
    ) -> pb.SetRateLimitResponse:
        """For all instances."""
        answers = _given(self._calls.limits, "rate limits")
        call = telling(pb.SetRateLimitResponse, answers.set_rate_limit)
        change = Change("limit.set", "ok", shared=True)
        return await self._desk.write(request, context, call, pb.SetRateLimitResponse, change)

    @override
    async def ApplyRateLimit(
        self, request: pb.ApplyRateLimitRequest, context: Context
    ) -> pb.ApplyRateLimitResponse:
        """As `SetRateLimit`."""
        answers = _given(self._calls.limits, "rate limits")
        call = telling(pb.ApplyRateLimitResponse, answers.set_rate_limit)
        change = Change("limit.set", "ok", shared=True)
        return await self._desk.write(request, context, call, pb.ApplyRateLimitResponse, change)

    @override
    async def RemoveRateLimit(
        self, request: pb.RemoveRateLimitRequest, context: Context
    ) -> pb.RemoveRateLimitResponse:
        """For all instances."""
        answers = _given(self._calls.limits, "rate limits")
        call = telling(pb.RemoveRateLimitResponse, answers.remove_rate_limit)
        change = Change("limit.removed", "ok", shared=True)
        return await self._desk.write(request, context, call, pb.RemoveRateLimitResponse, change)

    @override
    async def GetInstances(
        self, request: pb.GetInstancesRequest, context: Context
    ) -> pb.GetInstancesResponse:
        """By their heartbeats."""
        answers = _given(self._calls.instances, "instances")
        return await self._desk.read(request, context, answers.get_instances, shared=True)

    @override
    async def Scale(self, request: pb.ScaleRequest, context: Context) -> pb.ScaleResponse:
        """Records the wish."""
        answers = _given(self._calls.instances, "instances")
        change = Change("scale.wished", "ok", shared=True)
        return await self._desk.write(request, context, answers.scale, pb.ScaleResponse, change)

    @override
    async def Reload(self, request: pb.ReloadRequest, context: Context) -> pb.ReloadResponse:
        """A bad configuration changes nothing."""
        answers = _given(self._calls.configuration, "configuration")
        change = Change("config.reloaded", "all")
        return await self._desk.write(request, context, answers.reload, pb.ReloadResponse, change)

    @override
    async def GetConfig(
        self, request: pb.GetConfigRequest, context: Context
    ) -> pb.GetConfigResponse:
        """Without secrets."""
        answers = _given(self._calls.configuration, "configuration")
        return await self._desk.read(request, context, answers.get_config)

    @override
    async def UpdateConfig(
        self, request: pb.UpdateConfigRequest, context: Context
    ) -> pb.UpdateConfigResponse:
        """For all instances."""
        answers = _given(self._calls.configuration, "configuration")
        change = Change("config.updated", "ok")
        return await self._desk.write(
            request, context, answers.update_config, pb.UpdateConfigResponse, change
        )

    @override
    async def Shutdown(self, request: pb.ShutdownRequest, context: Context) -> pb.ShutdownResponse:
        """Answers before the end begins."""
        answers = _given(self._calls.end, "shutdown")
        call = telling(pb.ShutdownResponse, answers.shutdown)
        change = Change("instance.shutdown")
        return await self._desk.write(request, context, call, pb.ShutdownResponse, change)


def _given(answers: A | None, subject: str) -> A:
    if answers is None:
        raise NotImplementedHereError(f"This instance does not serve {subject} to MarchProxy.")
    return answers
