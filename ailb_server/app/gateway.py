"""One instance: everything that runs in one process, from start to close."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from prometheus_client import start_http_server

from ailb_server.api.anthropic_service import AnthropicService
from ailb_server.api.edge import Edge
from ailb_server.api.health_service import HealthService, Instance
from ailb_server.app.access import AccessParts, PepperError, first_admin, open_access
from ailb_server.app.audit import OpenAudit, open_audit
from ailb_server.app.context import open_context
from ailb_server.app.ground import Ground
from ailb_server.app.limits import open_limits
from ailb_server.app.module import ModuleParts, OpenModule, Signs, open_module
from ailb_server.app.process import Process
from ailb_server.app.providers import (
    demo_provider,
)
from ailb_server.app.routes import OpenRoutes, RoutesHeard, open_routes
from ailb_server.app.routing import OpenRouting, RoutingRules, open_routing
from ailb_server.app.services import access_services, core_services, usage_services
from ailb_server.app.tasks import ended
from ailb_server.app.usage import journal_directory, open_usage
from ailb_server.app.version import VERSION
from ailb_server.demo.server import DemoServer
from ailb_server.domain.audit import Actor
from ailb_server.domain.health import PartHealth
from ailb_server.domain.module import ConfigurationRefusedError
from ailb_server.pipeline.metering import Metering
from ailb_server.pipeline.record import ChatObserver, Observers
from ailb_server.routing.catalogue import Catalogue
from ailb_server.server import GrpcServer, PortTakenError, Register
from ailb_server.settings import Configuration, ProviderSettings
from ailb_server.storage.migrations import MigrationError, migrate
from ailb_server.storage.overlays import CHANNEL
from ailb_server.storage.pool import Store, StoreUnavailableError
from ailb_server.storage.usage_journal import JournalError
from ailb_server.telemetry.limit_metrics import LimitMetrics
from ailb_server.telemetry.metrics import Metrics

# How long a start waits for the providers' listings before it serves what it knows.
_FIRST_LISTING_S = 2.0
# A provider that has told nothing yet is asked again after twice that, and twice again.
_FIRST_AGAIN_S = 0.25
# However much a listing is in doubt, it is not asked for more often.
_LEAST_REFRESH_S = 1.0

# What `Gateway.start` raises when its surroundings do not let it start.
START_ERRORS = (
    StoreUnavailableError,
    MigrationError,
    PortTakenError,
    PepperError,
    JournalError,
)

_log = logging.getLogger(__name__)


class Gateway:
    """One instance: everything that runs in one process, from start to close."""

    def __init__(
        self,
        configuration: Configuration,
        database_url: str,
        migrations: Path,
        process: Process | None = None,
    ) -> None:
        self._configuration = configuration
        self._settings = configuration.settings
        self._migrations = migrations
        self._database_url = database_url
        self._closing = contextlib.AsyncExitStack()
        self._server: GrpcServer | None = None
        self._catalogue: Catalogue | None = None
        self._access: AccessParts | None = None
        self._process = process or Process()
        self._signs = Signs(asyncio.Event(), asyncio.Event())
        self._module: OpenModule | None = None
        self._drain_s: float | None = None
        self.model_routes: OpenRoutes | None = None
        self.providers: tuple[ProviderSettings, ...] = configuration.providers
        self._demo: tuple[ProviderSettings, ...] = ()

    async def start(self, *, port: int | None = None) -> int:
        """Store, migrations, providers, server, in this order; returns the gRPC port.

        Raises START_ERRORS; what had started is closed.
        """
        try:
            return await self._start(self._settings.grpc_port if port is None else port)
        except BaseException:
            await self.close()
            raise

    def models(self) -> tuple[str, ...]:
        """The names that callers may ask for now, in the providers' order."""
        return tuple(self._catalogue.table.models) if self._catalogue else ()

    def has_admin(self) -> bool:
        """Whether there is a key with the role admin."""
        return self._access is not None and self._access.has_admin

    async def make_admin(self, name: str, by: str) -> str:
        """Makes a key with the role admin, told in the audit log as done by `by`; its secret."""
        if self._access is None:
            raise RuntimeError("not started")
        return (await first_admin(self._access.administration, name, by))[1]

    async def drain(self) -> None:
        """Takes nothing new and lets running calls end, bounded by DRAIN_TIMEOUT_S, or by what the
        call said that asked for the end."""
        self._signs.draining.set()
        # A heartbeat at once: others learn that this instance stops.
        self._signs.changed.set()
        if self._server is not None and self._module is not None:
            usual_s = self._module.reloading.settings.drain_timeout_s
            await self._server.drain(usual_s if self._drain_s is None else self._drain_s)

    async def reload(self, by: str) -> None:
        """Reads the configuration again; what comes of it is in the log. For signals."""
        if self._module is not None:
            with contextlib.suppress(ConfigurationRefusedError):
                await self._module.reloading.reload(Actor(by))

    async def close(self) -> None:
        """Closes what `start` opened, newest first."""
        await self._closing.aclose()

    async def _start(self, port: int) -> int:
        settings = self._settings
        metrics = Metrics(settings.module_id, VERSION)
        store = await self._open_store()
        audit = open_audit(settings, store, metrics, self._closing)
        limits = await open_limits(settings, store, LimitMetrics(metrics.registry), self._closing)
        ground = Ground(store, audit, metrics, limits)
        announced = RoutesHeard()
        access = self._access = await self._open_access(ground, announced)
        if settings.demo_provider:
            await self._start_demo()
        usage = await open_usage(settings, store, metrics, self._closing)
        metering = Metering(metrics)
        routing = await self._open_routing(ground, Observers((metering, usage.own)))
        routes = self.model_routes = await self._open_routes(routing, audit, announced)
        context = await open_context(
            settings, store, self._database_url, routing.embedders, metrics, self._closing
        )
        # The embedders ask a pipeline of their own: what they embed has no context and no caller.
        pipeline = replace(
            routing.pipeline,
            context=context.stage,
            admission=limits.admission(settings, routing.catalogue, routing.catalogue.route_of),
            pricing=limits.pricing,
            observer=Observers((metering, usage.callers)),
        )
        health = self._health(routing, store, (*context.health, usage.health))
        messages = AnthropicService(pipeline, routing.counting)
        services = (
            *core_services(pipeline, messages, routing.catalogue, metrics, health, routing.stats),
            *context.services,
            *access_services(access.administration, access.tenants),
            *usage_services(usage.service),
        )
        module = self._module = await open_module(
            self._module_parts(ground, routing, routes, health)
        )
        bound = await self._serve(port, metrics, (*services, *module.services))
        module.begin(settings.host, bound, self._closing)
        return bound

    async def _open_access(self, ground: Ground, announced: RoutesHeard) -> AccessParts:
        heard = {
            **ground.limits.heard,
            **announced.heard,
            CHANNEL: lambda _: self._signs.changed.set(),
        }
        return await open_access(
            self._settings, ground.store, self._database_url, ground.audit, heard, self._closing
        )

    def _health(
        self, routing: OpenRouting, store: Store, parts: Sequence[Callable[[], PartHealth]]
    ) -> HealthService:
        instance = Instance(self._settings.module_id, VERSION, self._is_draining)
        return HealthService(instance, routing.catalogue, store.ping, parts)

    def _module_parts(
        self, ground: Ground, routing: OpenRouting, routes: OpenRoutes, health: HealthService
    ) -> ModuleParts:
        return ModuleParts(
            configuration=self._configuration,
            ground=ground,
            routing=routing,
            routes=routes,
            health=health,
            journals=journal_directory(self._settings),
            signs=self._signs,
            read=self._process.read,
            end=self._end if self._process.end else None,
        )

    def _end(self, drain_s: float | None) -> None:
        self._drain_s = drain_s
        if self._process.end is not None:
            self._process.end()

    async def _open_routing(self, ground: Ground, own: ChatObserver) -> OpenRouting:
        renewed = partial(ground.limits.ledger_rules, self._settings)
        rules = RoutingRules(await renewed(self.providers), ground.limits.pricing, renewed)
        routing = open_routing(
            self._configuration, self._demo, ground.metrics, own, rules, self._closing
        )
        self._catalogue = routing.catalogue
        await routing.catalogue.learn_prices()
        await self._keep_fresh(routing.catalogue)
        return routing

    async def _open_routes(
        self, routing: OpenRouting, audit: OpenAudit, announced: RoutesHeard
    ) -> OpenRoutes:
        router, ending = routing.pipeline.router, self._is_draining
        return await open_routes(self._settings, audit, router, announced, ending, self._closing)

    async def _open_store(self) -> Store:
        settings = self._settings
        store = Store(self._database_url, size=settings.database_pool_size)
        self._closing.push_async_callback(store.close)
        await store.wait_ready(settings.database_connect_timeout_s)
        for name in await migrate(self._database_url, self._migrations):
            _log.info("applied migration %s", name)
        await store.open()
        return store

    async def _start_demo(self) -> None:
        demo = DemoServer()
        url = await demo.start()
        self._closing.push_async_callback(demo.stop)
        self._demo = (demo_provider(url),)
        self.providers = (*self.providers, *self._demo)

    async def _keep_fresh(self, catalogue: Catalogue) -> None:
        first = asyncio.Event()
        task = asyncio.create_task(
            _refresh_for_ever(catalogue, self._settings.provider_refresh_s, first)
        )
        self._closing.push_async_callback(ended, task)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(first.wait(), _FIRST_LISTING_S)

    async def _serve(self, port: int, metrics: Metrics, services: Sequence[Register]) -> int:
        settings = self._settings
        limit = settings.max_concurrent_requests
        gate = None if self._access is None else self._access.gate
        edge = Edge(limit, gate, metrics.refused, metrics.vitals.traffic)
        server = GrpcServer(edge, services, max_calls=limit)
        bound = await server.start(settings.host, port)
        self._server = server
        self._closing.push_async_callback(server.stop)
        if settings.metrics_port is not None:
            self._serve_metrics(settings.metrics_port, metrics)
        return bound

    def _serve_metrics(self, port: int, metrics: Metrics) -> None:
        try:
            http, thread = start_http_server(port, self._settings.host, metrics.registry)
        except OSError as error:
            raise PortTakenError(f"METRICS_PORT {port} is taken.") from error
        self._closing.callback(thread.join)
        self._closing.callback(http.server_close)
        self._closing.callback(http.shutdown)

    def _is_draining(self) -> bool:
        return self._server is not None and self._server.draining


async def _refresh_for_ever(catalogue: Catalogue, every_s: float, first: asyncio.Event) -> None:
    again_s = _FIRST_AGAIN_S
    while True:
        try:
            await catalogue.refresh()
        except Exception:  # noqa: BLE001
            # A fault of ours must not end the refreshing for good, nor pass unseen.
            _log.exception("the providers' models could not be refreshed")
        first.set()
        if catalogue.table.unlisted:
            again_s = min(again_s * 2, every_s)
            await asyncio.sleep(again_s)
        else:
            await _doubted(catalogue, every_s)


async def _doubted(catalogue: Catalogue, within_s: float) -> None:
    """Returns once a listing is in doubt, though not at once: every request may doubt it."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await asyncio.sleep(_LEAST_REFRESH_S)
            await catalogue.doubted.wait()
