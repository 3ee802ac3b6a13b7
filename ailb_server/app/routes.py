"""Model routes and the shares of versions, put together."""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from ailb_server.api.module.desk import caller
from ailb_server.api.module.routes import RouteCalls
from ailb_server.api.module.weights import WeightCalls
from ailb_server.app.audit import OpenAudit
from ailb_server.app.version import VERSION
from ailb_server.domain.rollout import InstanceWeight
from ailb_server.routing.live_routes import LiveRoutes
from ailb_server.routing.route_administration import RouteAdministration
from ailb_server.routing.router import Router
from ailb_server.routing.serving import Serving
from ailb_server.settings import Settings
from ailb_server.storage.routes import CHANNEL, PostgresRoutes


@dataclass(frozen=True, slots=True)
class OpenRoutes:
    """`routes` and `weights` answer ModuleService, `weight` is what load balancers are told."""

    routes: RouteCalls
    weights: WeightCalls
    weight: InstanceWeight


class RoutesHeard:
    """What announcements of routes lead to, before there are routes to read."""

    def __init__(self) -> None:
        self.live: LiveRoutes | None = None

    @property
    def heard(self) -> Mapping[str, Callable[[str], None]]:
        """By channel."""
        return {CHANNEL: self._changed}

    def _changed(self, payload: str) -> None:
        if self.live is not None:
            self.live.heard(payload)


async def open_routes(
    settings: Settings,
    audit: OpenAudit,
    router: Router,
    announcements: RoutesHeard,
    ending: Callable[[], bool],
    closing: AsyncExitStack,
) -> OpenRoutes:
    """Reads the routes; from then on they go before the models. `ending` tells whether this
    instance drains. Raises StorageUnavailableError."""
    kept = PostgresRoutes(audit.rows.store, audit.rows, settings.module_id, VERSION)
    live = LiveRoutes(kept, router.catalogue, VERSION)
    # Before the reading: what changes meanwhile is read again.
    announcements.live = live
    await live.start()
    closing.push_async_callback(live.close)
    router.route_time = live.now
    administration = RouteAdministration(live, audit.log)
    return OpenRoutes(
        RouteCalls(live, administration, Serving(live, router.ledger, ending), caller),
        WeightCalls(live, administration, settings.module_id, caller),
        live,
    )
