"""`ailb.v1.HealthService`: how this instance and its parts are."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from typing_extensions import override

from ailb.v1 import health_pb2, health_service_pb2_grpc
from ailb.v1 import health_service_pb2 as pb
from ailb_server.api.call import REQUEST_ID_KEY, current_call
from ailb_server.api.errors import HTTP_STATUS_KEY
from ailb_server.domain.errors import StorageUnavailableError
from ailb_server.domain.health import PartHealth
from ailb_server.routing.catalogue import Catalogue

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

_OK = health_pb2.HEALTH_STATE_OK
_DEGRADED = health_pb2.HEALTH_STATE_DEGRADED
_DOWN = health_pb2.HEALTH_STATE_DOWN
_DRAINING = health_pb2.HEALTH_STATE_DRAINING
_UNSERVED = frozenset({_DOWN, _DRAINING})


@dataclass(frozen=True, slots=True)
class Instance:
    """Who answers. `draining` tells whether it still takes new calls."""

    module_id: str
    version: str
    draining: Callable[[], bool]


class HealthService(health_service_pb2_grpc.HealthServiceServicer):
    """Providers by their listings and last attempts, the store by a ping; both are free.

    `parts` tell of what chats do without: any trouble of theirs degrades the instance.
    """

    def __init__(
        self,
        instance: Instance,
        catalogue: Catalogue,
        ping_store: Callable[[], Awaitable[None]],
        parts: Sequence[Callable[[], PartHealth]] = (),
    ) -> None:
        self._instance = instance
        self._catalogue = catalogue
        self._ping_store = ping_store
        self._parts = tuple(parts)

    @override
    async def GetHealth(
        self, request: pb.GetHealthRequest, context: Context
    ) -> pb.GetHealthResponse:
        """503 on REST while chats are not served."""
        found = await self.look()
        metadata = [(REQUEST_ID_KEY, current_call.get().request_id)]
        if found.state in _UNSERVED:
            metadata.append((HTTP_STATUS_KEY, "503"))
        await context.send_initial_metadata(tuple(metadata))
        return found

    async def look(self) -> pb.GetHealthResponse:
        """As it is now."""
        providers = [
            _component(f"provider:{health.provider}", health.problem)
            for health in self._catalogue.health()
        ]
        store = _component("store", await self._store_problem())
        parts = [_part(part()) for part in self._parts]
        return pb.GetHealthResponse(
            state=self._overall(providers, [store, *parts]),
            instance=self._instance.module_id,
            version=self._instance.version,
            components=[*providers, store, *parts],
        )

    async def _store_problem(self) -> str:
        try:
            await self._ping_store()
        except StorageUnavailableError:
            return "unreachable"
        return ""

    def _overall(
        self, providers: list[health_pb2.ComponentHealth], others: list[health_pb2.ComponentHealth]
    ) -> health_pb2.HealthState.ValueType:
        if self._instance.draining():
            return _DRAINING
        well = [provider.state == _OK for provider in providers]
        if not any(well):
            return _DOWN
        others_well = [other.state == _OK for other in others]
        return _OK if all(well) and all(others_well) else _DEGRADED


def _component(name: str, problem: str) -> health_pb2.ComponentHealth:
    return health_pb2.ComponentHealth(name=name, state=_DOWN if problem else _OK, detail=problem)


def _part(part: PartHealth) -> health_pb2.ComponentHealth:
    state = (_DEGRADED if part.problem else _OK) if part.works else _DOWN
    return health_pb2.ComponentHealth(name=part.name, state=state, detail=part.problem)
