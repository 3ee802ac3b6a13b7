"""What all parts of an instance stand on: store, watching, audit, limits, who is let in."""

import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from ailb_server.app.access import AccessParts, open_access
from ailb_server.app.audit import OpenAudit, open_audit
from ailb_server.app.limits import OpenLimits, open_limits
from ailb_server.app.module import Signs
from ailb_server.app.months import keep_months
from ailb_server.app.observing import Observing, open_observing, watch_store
from ailb_server.app.routes import RoutesHeard
from ailb_server.settings import Settings
from ailb_server.storage.migrations import migrate
from ailb_server.storage.overlays import CHANNEL
from ailb_server.storage.pool import Store
from ailb_server.telemetry.limit_metrics import LimitMetrics
from ailb_server.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an instance keeps things, and the migrations that its database needs."""

    settings: Settings
    database_url: str
    migrations: Path


@dataclass(frozen=True, slots=True)
class Ground:
    """`routes_heard` is told of routes before there are any; `closing` ends all, newest first."""

    place: Place
    metrics: Metrics
    observing: Observing
    store: Store
    audit: OpenAudit
    limits: OpenLimits
    access: AccessParts
    routes_heard: RoutesHeard
    closing: AsyncExitStack

    @property
    def settings(self) -> Settings:
        """The instance's."""
        return self.place.settings


async def open_ground(
    place: Place, metrics: Metrics, signs: Signs, closing: AsyncExitStack
) -> Ground:
    """Raises StoreUnavailableError, MigrationError, PepperError or TracingError."""
    settings = place.settings
    observing = open_observing(settings, metrics, closing)
    store = await _open_store(place, closing, traced=observing.tracer is not None)
    watch_store(metrics, store)
    keep_months(settings, store, closing)
    audit = open_audit(settings, store, metrics, closing)
    limits = await open_limits(settings, store, LimitMetrics(metrics.registry), closing)
    routes_heard = RoutesHeard()
    heard = {**limits.heard, **routes_heard.heard, CHANNEL: lambda _: signs.changed.set()}
    access = await open_access(settings, store, place.database_url, audit, heard, closing)
    return Ground(place, metrics, observing, store, audit, limits, access, routes_heard, closing)


async def _open_store(place: Place, closing: AsyncExitStack, *, traced: bool) -> Store:
    settings = place.settings
    store = Store(place.database_url, size=settings.database_pool_size, traced=traced)
    closing.push_async_callback(store.close)
    await store.wait_ready(settings.database_connect_timeout_s)
    for name in await migrate(place.database_url, place.migrations):
        _log.info("applied migration %s", name)
    await store.open()
    return store
