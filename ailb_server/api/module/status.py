"""GetStatus and HealthCheck: how this instance is, by means that cost nothing."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ailb.v1 import health_pb2
from ailb.v1 import health_service_pb2 as health_pb
from ailb_server.api.module.failing import now
from ailb_server.api.module.messages import OWN_STATES, STATUSES, module_instance
from ailb_server.domain.health import PartHealth
from ailb_server.domain.module import ConfigurationState, Instance, InstanceStatus
from ailb_server.routing.breaker import BreakerState
from ailb_server.routing.snapshot import TargetSnapshot
from ailb_server.telemetry.vitals import Vitals
from marchproxy import module_pb2 as pb

_LISTING_S = 5.0
# Deep checks that come closer together share one listing.
_LISTING_AGAIN_S = 5.0
_MAX_TARGETS = 100
_WORDS = {
    health_pb2.HEALTH_STATE_OK: "ok",
    health_pb2.HEALTH_STATE_DEGRADED: "degraded",
    health_pb2.HEALTH_STATE_DOWN: "down",
}


@dataclass(slots=True)
class OwnStatus:
    """This instance as it is now: `fixed` has what does not change while it serves."""

    fixed: Instance
    health: Callable[[], Awaitable[health_pb.GetHealthResponse]]
    vitals: Vitals
    configuration: Callable[[], ConfigurationState]
    weight: Callable[[], int]

    async def look(self) -> tuple[Instance, health_pb.GetHealthResponse]:
        """With the health that its status is read off."""
        found = await self.health()
        state = self.configuration()
        instance = replace(
            self.fixed,
            status=OWN_STATES[found.state],
            weight=self.weight(),
            connections=self.vitals.traffic.active,
            metadata={
                **self.fixed.metadata,
                "config_version": str(state.version),
                "config_checksum": state.checksum,
            },
        )
        return instance, found

    async def instance(self) -> Instance:
        """For the heartbeats."""
        return (await self.look())[0]


@dataclass(frozen=True, slots=True)
class DeepParts:
    """What only a deep check asks: `list_models` asks the providers for their models, which is
    free; `disk` may block for a moment; `targets` is what the ledger knows."""

    list_models: Callable[[], Awaitable[None]]
    disk: Callable[[], PartHealth]
    targets: Callable[[], Sequence[TargetSnapshot]]


@dataclass(slots=True)
class StatusCalls:
    """See `StatusAnswers`."""

    own: OwnStatus
    deep: DeepParts
    clock: Callable[[], float] = time.monotonic
    _listed_at: float = field(init=False, default=float("-inf"))
    _listing: "asyncio.Task[None] | None" = field(init=False, default=None)

    async def get_status(self, request: pb.GetStatusRequest) -> pb.GetStatusResponse:
        """`details` are texts for people and dashboards."""
        instance, found = await self.own.look()
        return pb.GetStatusResponse(
            instance=module_instance(instance),
            status=STATUSES[instance.status],
            message=_message(instance.status, found.components),
            last_updated=now(),
            details=self._details(instance),
        )

    async def health_check(self, request: pb.HealthCheckRequest) -> pb.HealthCheckResponse:
        """Deep: the providers list their models first, within a bound; never a chat."""
        extra: dict[str, str] = {}
        disk = PartHealth("disk")
        if request.deep_check:
            await self._list_models()
            disk = await asyncio.to_thread(self.deep.disk)
            extra = {"disk": _part_told(disk), **self._breakers()}
        instance, found = await self.own.look()
        status = instance.status
        if disk.problem and status is InstanceStatus.HEALTHY:
            status = InstanceStatus.DEGRADED
        return pb.HealthCheckResponse(
            status=STATUSES[status],
            message=_message(status, found.components),
            checks={**{c.name: _told(c) for c in found.components}, **extra},
            checked_at=now(),
        )

    async def _list_models(self) -> None:
        if self._listing is None or self._listing.done():
            if self.clock() - self._listed_at < _LISTING_AGAIN_S:
                return
            self._listed_at = self.clock()
            self._listing = asyncio.create_task(_bounded(self.deep.list_models))
        await asyncio.shield(self._listing)

    def _breakers(self) -> Mapping[str, str]:
        """Of the targets that are not asked as others are."""
        shut = [t for t in self.deep.targets() if t.breaker is not BreakerState.CLOSED]
        return {f"target:{t.provider}/{t.model}": _shut(t) for t in shut[:_MAX_TARGETS]}

    def _details(self, instance: Instance) -> Mapping[str, str]:
        state = self.own.configuration()
        signs = self.own.vitals.snapshot()
        return {
            **instance.metadata,
            "module_id": instance.module_id,
            "version": instance.version,
            "weight": str(instance.weight),
            "config_age_s": f"{max(0.0, time.time() - state.applied_at):.0f}",
            "config_problem": state.problem,
            "config_overlay": str(state.overlay),
            "restart_needed_for": ", ".join(state.waiting),
            "active_requests": str(signs.active_requests),
            "active_streams": str(signs.active_streams),
            "requests_per_second": f"{signs.requests_per_second:g}",
        }


async def _bounded(work: Callable[[], Awaitable[None]]) -> None:
    try:
        async with asyncio.timeout(_LISTING_S):
            await work()
    except TimeoutError:
        # Who has not answered keeps the state that it had.
        return


def _message(status: InstanceStatus, parts: Sequence[health_pb2.ComponentHealth]) -> str:
    troubled = [f"{p.name} {_told(p)}" for p in parts if p.state != health_pb2.HEALTH_STATE_OK]
    return "; ".join((status.value, *troubled))


def _told(part: health_pb2.ComponentHealth) -> str:
    word = _WORDS.get(part.state, "unknown")
    return f"{word}: {part.detail}" if part.detail else word


def _shut(target: TargetSnapshot) -> str:
    return f"{target.breaker.value} after {target.consecutive_failures} failures"


def _part_told(part: PartHealth) -> str:
    return f"degraded: {part.problem}" if part.problem else "ok"
