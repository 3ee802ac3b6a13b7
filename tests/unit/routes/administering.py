"""Routes kept in memory, and calls of ModuleService upon them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ailb_server.api.module.routes import RouteCalls
from ailb_server.api.module.weights import WeightCalls
from ailb_server.domain.audit import Actor, AuditEvent
from ailb_server.domain.route import RouteChange, RouteTable
from ailb_server.routing.live_routes import LiveRoutes
from ailb_server.routing.route_administration import RouteAdministration
from ailb_server.routing.router import Router
from ailb_server.routing.serving import Serving
from marchproxy import module_pb2 as pb
from marchproxy import types_pb2
from tests.unit.routes.routing import router
from tests.unit.routing.clock import Clock

VERSION = "0.1.0"
ME = Actor("nlb", 7)


@dataclass
class MemoryRoutes:
    """A `RouteStore`; its time is the clock's."""

    clock: Clock
    table: RouteTable = field(default_factory=RouteTable)
    events: list[AuditEvent] = field(default_factory=list)

    async def load(self) -> RouteTable:
        return replace(self.table, now=self.clock())

    async def change(self, change: RouteChange) -> RouteTable:
        before = replace(self.table, now=self.clock())
        edit = change(before)
        if (edit.routes, edit.instance) != (before.routes, before.instance):
            self.events.append(edit.event)
            self.table = RouteTable(before.version + 1, edit.routes, edit.instance)
        return await self.load()


@dataclass
class Told:
    """An `AuditLog`."""

    events: list[AuditEvent] = field(default_factory=list)

    def record(self, event: AuditEvent) -> None:
        self.events.append(event)

    def count(self, event: AuditEvent, kind: str = "") -> None:
        self.events.append(event)

    async def append(self, event: AuditEvent) -> None:
        self.events.append(event)


class Office:
    """Everything around one router; `clock` is the time of Postgres, and of this instance."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = MemoryRoutes(self.clock)
        self.audit = Told()
        self.router: Router = router()
        self.live = LiveRoutes(self.store, self.router.catalogue, VERSION, clock=self.clock)
        self.router.route_time = self.live.now
        administration = RouteAdministration(self.live, self.audit)
        self.ends = False
        serving = Serving(self.live, self.router.ledger, lambda: self.ends)
        self.routes = RouteCalls(self.live, administration, serving, lambda: ME)
        self.weights = WeightCalls(self.live, administration, "ailb-1", lambda: ME)

    async def update(self, *routes: types_pb2.Route, replace_all: bool = False) -> int:
        asked = pb.UpdateRoutesRequest(routes=routes, replace_all=replace_all)
        answer = await self.routes.update_routes(asked)
        assert answer.success
        return answer.routes_updated

    async def groups(self) -> Mapping[str, str]:
        found = await self.routes.get_routes(pb.GetRoutesRequest())
        return {route.route_id: route.destination_pattern for route in found.routes}

    async def active(self) -> pb.GetActiveVersionResponse:
        return await self.weights.get_active_version(pb.GetActiveVersionRequest())


def message(
    route_id: str = "r", model: str = "smart", group: str = "openai/gpt-4o", **more: object
) -> types_pb2.Route:
    fields = {"route_id": route_id, "source_pattern": model, "destination_pattern": group, **more}
    return types_pb2.Route(**fields)  # type: ignore[arg-type]
