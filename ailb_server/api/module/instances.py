"""GetInstances and Scale."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ailb_server.api.module.desk import caller
from ailb_server.api.module.messages import module_instance
from ailb_server.domain.audit import Actor
from ailb_server.domain.errors import InvalidRequestError
from ailb_server.domain.module import InstanceStatus, KnownInstance, ScaleWish
from marchproxy import module_pb2 as pb
from marchproxy import types_pb2

MAX_INSTANCES = 1000
MAX_PERCENT = 100
MAX_CONNECTIONS = 1_000_000
MAX_COOLDOWN_S = 86_400
_OURS = frozenset({types_pb2.MODULE_TYPE_UNSPECIFIED, types_pb2.MODULE_TYPE_AILB})
_NO_MACHINES = (
    "AILB starts and stops no machines: whoever does reads the wish in the table scale_wish."
)


class InstanceRecords(Protocol):
    """Where instances tell that they live. Raises StorageUnavailableError."""

    async def list(self) -> Sequence[KnownInstance]:
        """By MODULE_ID."""
        ...

    async def wish(self, wish: ScaleWish, by: Actor) -> None:
        """Records how many are wished for."""
        ...


@dataclass(frozen=True, slots=True)
class InstanceCalls:
    """See `InstanceAnswers`. `silent_s`: who has told nothing for so long is not healthy."""

    records: InstanceRecords
    silent_s: float

    async def get_instances(self, request: pb.GetInstancesRequest) -> pb.GetInstancesResponse:
        """Of other types of modules AILB knows none."""
        if request.module_type not in _OURS:
            return pb.GetInstancesResponse()
        found = [self._told(known) for known in await self.records.list()]
        wanted = request.status_filter
        chosen = [one for one in found if not wanted or one.health_status == wanted]
        return pb.GetInstancesResponse(instances=chosen, total_instances=len(chosen))

    async def scale(self, request: pb.ScaleRequest) -> pb.ScaleResponse:
        """`desired_instances` is as many as there are, within the wish."""
        wish = _wish(request)
        await self.records.wish(wish, caller())
        current = sum(not self._is_silent(known) for known in await self.records.list())
        return pb.ScaleResponse(
            success=True,
            message=f"The wish is recorded. {_NO_MACHINES}",
            current_instances=current,
            desired_instances=wish.desired(current),
        )

    def _told(self, known: KnownInstance) -> types_pb2.ModuleInstance:
        status = InstanceStatus.UNHEALTHY if self._is_silent(known) else known.instance.status
        return module_instance(known.instance, status, heartbeat_age_s=f"{known.age_s:.0f}")

    def _is_silent(self, known: KnownInstance) -> bool:
        return known.age_s > self.silent_s


def _wish(request: pb.ScaleRequest) -> ScaleWish:
    if not request.HasField("config"):
        raise InvalidRequestError("`config` is needed.", param="config")
    config = request.config
    _require(config, "min_instances", 0, MAX_INSTANCES)
    _require(config, "max_instances", 1, MAX_INSTANCES)
    if config.min_instances > config.max_instances:
        raise InvalidRequestError(
            "`min_instances` must not exceed `max_instances`.", param="min_instances"
        )
    for name in ("target_cpu_percent", "target_memory_percent"):
        _require(config, name, 0, MAX_PERCENT)
    for name in ("target_connections", "scale_up_threshold", "scale_down_threshold"):
        _require(config, name, 0, MAX_CONNECTIONS)
    _require(config, "cooldown_seconds", 0, MAX_COOLDOWN_S)
    return ScaleWish(
        min_instances=config.min_instances,
        max_instances=config.max_instances,
        target_cpu_percent=config.target_cpu_percent,
        target_memory_percent=config.target_memory_percent,
        target_connections=config.target_connections,
        scale_up_threshold=config.scale_up_threshold,
        scale_down_threshold=config.scale_down_threshold,
        cooldown_seconds=config.cooldown_seconds,
        auto_scaling_enabled=config.auto_scaling_enabled,
        immediate=request.immediate,
    )


def _require(config: types_pb2.ScalingConfig, name: str, least: int, most: int) -> None:
    if not least <= getattr(config, name) <= most:
        raise InvalidRequestError(f"`{name}` must be from {least} to {most}.", param=name)
