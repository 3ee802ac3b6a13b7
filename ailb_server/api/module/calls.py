"""Who answers ModuleService's calls, by subject. All may raise AilbError."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from marchproxy import module_pb2 as pb


class StatusAnswers(Protocol):
    """How this instance is."""

    async def get_status(self, request: pb.GetStatusRequest) -> pb.GetStatusResponse:
        """As `ModuleService.GetStatus`."""
        ...

    async def health_check(self, request: pb.HealthCheckRequest) -> pb.HealthCheckResponse:
        """As `ModuleService.HealthCheck`."""
        ...


class FigureAnswers(Protocol):
    """What this instance has counted."""

    async def get_stats(self, request: pb.GetStatsRequest) -> pb.GetStatsResponse:
        """As `ModuleService.GetStats`."""
        ...

    async def get_metrics(self, request: pb.GetMetricsRequest) -> pb.GetMetricsResponse:
        """As `ModuleService.GetMetrics`."""
        ...

    def stream_metrics(
        self, request: pb.StreamMetricsRequest
    ) -> AsyncGenerator[pb.StreamMetricsResponse, None]:
        """As `ModuleService.StreamMetrics`."""
        ...


class RouteAnswers(Protocol):
    """The model routes."""

    async def get_routes(self, request: pb.GetRoutesRequest) -> pb.GetRoutesResponse:
        """As `ModuleService.GetRoutes`."""
        ...

    async def update_routes(self, request: pb.UpdateRoutesRequest) -> pb.UpdateRoutesResponse:
        """As `ModuleService.UpdateRoutes`."""
        ...

    async def delete_route(self, request: pb.DeleteRouteRequest) -> pb.DeleteRouteResponse:
        """As `ModuleService.DeleteRoute`."""
        ...

    async def can_handle(self, request: pb.CanHandleRequest) -> pb.CanHandleResponse:
        """As `ModuleService.CanHandle`."""
        ...


class WeightAnswers(Protocol):
    """The weights of versions."""

    async def set_traffic_weight(
        self, request: pb.SetTrafficWeightRequest
    ) -> pb.SetTrafficWeightResponse:
        """As `ModuleService.SetTrafficWeight`."""
        ...

    async def get_active_version(
        self, request: pb.GetActiveVersionRequest
    ) -> pb.GetActiveVersionResponse:
        """As `ModuleService.GetActiveVersion`."""
        ...

    async def promote_version(self, request: pb.PromoteVersionRequest) -> pb.PromoteVersionResponse:
        """As `ModuleService.PromoteVersion`."""
        ...

    async def rollback(self, request: pb.RollbackRequest) -> pb.RollbackResponse:
        """As `ModuleService.Rollback`."""
        ...


class LimitAnswers(Protocol):
    """The rate limits."""

    async def get_rate_limits(self, request: pb.GetRateLimitsRequest) -> pb.GetRateLimitsResponse:
        """As `ModuleService.GetRateLimits`."""
        ...

    async def set_rate_limit(
        self, request: pb.SetRateLimitRequest | pb.ApplyRateLimitRequest
    ) -> str:
        """As `ModuleService.SetRateLimit`; returns what to tell."""
        ...

    async def remove_rate_limit(self, request: pb.RemoveRateLimitRequest) -> str:
        """As `ModuleService.RemoveRateLimit`; returns what to tell."""
        ...


class InstanceAnswers(Protocol):
    """This instance's siblings."""

    async def get_instances(self, request: pb.GetInstancesRequest) -> pb.GetInstancesResponse:
        """As `ModuleService.GetInstances`."""
        ...

    async def scale(self, request: pb.ScaleRequest) -> pb.ScaleResponse:
        """As `ModuleService.Scale`."""
        ...


class ConfigurationAnswers(Protocol):
    """The configuration in force."""

    async def reload(self, request: pb.ReloadRequest) -> pb.ReloadResponse:
        """As `ModuleService.Reload`."""
        ...

    async def get_config(self, request: pb.GetConfigRequest) -> pb.GetConfigResponse:
        """As `ModuleService.GetConfig`."""
        ...

    async def update_config(self, request: pb.UpdateConfigRequest) -> pb.UpdateConfigResponse:
        """As `ModuleService.UpdateConfig`."""
        ...


class EndAnswers(Protocol):
    """This instance's end."""

    async def shutdown(self, request: pb.ShutdownRequest) -> str:
        """As `ModuleService.Shutdown`; returns what to tell."""
        ...


@dataclass(frozen=True, slots=True)
class ModuleCalls:
    """None: this server answers UNIMPLEMENTED, with the reason."""

    status: StatusAnswers | None = None
    figures: FigureAnswers | None = None
    routes: RouteAnswers | None = None
    weights: WeightAnswers | None = None
    limits: LimitAnswers | None = None
    instances: InstanceAnswers | None = None
    configuration: ConfigurationAnswers | None = None
    end: EndAnswers | None = None
