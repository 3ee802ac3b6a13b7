"""ModuleService's routes: GetRoutes, UpdateRoutes, DeleteRoute, CanHandle."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ailb_server.api.module.desk import caller
from ailb_server.api.module.route_query import MAX_PAGE, found
from ailb_server.api.module.route_wire import route_message, terms_of
from ailb_server.domain.audit import Actor, AuditEvent
from ailb_server.domain.errors import InvalidRequestError
from ailb_server.domain.route import RouteTerms
from ailb_server.routing.live_routes import LiveRoutes
from ailb_server.routing.route_administration import RouteAdministration
from ailb_server.routing.serving import Question, Serving, Verdict
from marchproxy import module_pb2 as pb
from marchproxy import types_pb2

_HEADER = "header."


@dataclass(frozen=True, slots=True)
class RouteCalls:
    """Raises AilbError for what did not happen. Routes are of all instances: `instance_id` may be
    any. `who` makes the running call."""

    live: LiveRoutes
    administration: RouteAdministration
    serving: Serving
    who: Callable[[], Actor] = caller

    async def get_routes(self, request: pb.GetRoutesRequest) -> pb.GetRoutesResponse:
        """As they are in force on this instance. Without a query all, by id."""
        now = self.live.now()
        routes = [route_message(route, now) for route in self.live.table.routes]
        query = request.query
        if not request.HasField("query"):
            query = types_pb2.Query(pagination=types_pb2.Pagination(page_size=MAX_PAGE))
        page, pagination = found(routes, query)
        return pb.GetRoutesResponse(
            routes=page, total_routes=pagination.total_items, pagination=pagination
        )

    async def update_routes(self, request: pb.UpdateRoutesRequest) -> pb.UpdateRoutesResponse:
        """All of them or none."""
        try:
            asked = _asked(request.routes)
        except InvalidRequestError as error:
            event = AuditEvent("route.updated", self.who(), subject="routes")
            self.administration.failed(event, error)
            raise
        changed = await self.administration.update(
            asked, self.who(), replace_all=request.replace_all
        )
        number = self.live.table.version
        said = f"{changed} changed" if changed else "all are as they were"
        return pb.UpdateRoutesResponse(
            success=True, message=f"Routes: {said}; table {number}.", routes_updated=changed
        )

    async def delete_route(self, request: pb.DeleteRouteRequest) -> pb.DeleteRouteResponse:
        """Of all instances."""
        await self.administration.delete(request.route_id, self.who())
        number = self.live.table.version
        return pb.DeleteRouteResponse(
            success=True, message=f"The route {request.route_id} is gone; table {number}."
        )

    async def can_handle(self, request: pb.CanHandleRequest) -> pb.CanHandleResponse:
        """Whether this instance would serve such a request now. What cannot be a route is told as
        the reason."""
        try:
            verdict = self.serving.verdict(_question(request))
        except InvalidRequestError as error:
            verdict = Verdict(serves=False, reason=str(error))
        return pb.CanHandleResponse(
            can_handle=verdict.serves,
            priority=verdict.priority,
            reason=verdict.reason,
            metadata=verdict.facts,
        )


def _asked(routes: Sequence[types_pb2.Route]) -> Sequence[RouteTerms]:
    asked: list[RouteTerms] = []
    faults: dict[str, str] = {}
    for index, route in enumerate(routes):
        try:
            asked.append(terms_of(route))
        except InvalidRequestError as error:
            faults[f"routes[{index}]"] = f"{route.route_id[:128] or '(without an id)'}: {error}"
    if faults:
        told = dict(list(faults.items())[:10])
        refusal = InvalidRequestError(
            f"No route was changed. {' '.join(told.values())}", param=next(iter(told))
        )
        refusal.facts = {**refusal.facts, **told}
        raise refusal
    return asked


def _question(request: pb.CanHandleRequest) -> Question:
    route, context = request.route, request.context
    return Question(
        model=context.get("model", "") or route.source_pattern,
        path=context.get("path", "") or route.path_pattern,
        protocol=types_pb2.Protocol.Name(route.protocol).removeprefix("PROTOCOL_")
        if route.protocol in types_pb2.Protocol.values()
        else str(route.protocol),
        headers={
            **{name.lower(): value for name, value in route.headers.items()},
            **{
                name.removeprefix(_HEADER).lower(): value
                for name, value in context.items()
                if name.startswith(_HEADER)
            },
        },
        terms=terms_of(route) if route.destination_pattern else None,
    )
