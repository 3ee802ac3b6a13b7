"""One instance: everything that runs in one process, from start to close."""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import start_http_server

from ailb_server.api.edge import Edge
from ailb_server.app.access import PepperError, first_admin
from ailb_server.app.chats import OpenChats, open_chats
from ailb_server.app.ground import Ground, Place, open_ground
from ailb_server.app.module import ModuleParts, OpenModule, Signs, open_module
from ailb_server.app.nlb import NlbParts, open_nlb
from ailb_server.app.observing import TracingError, follow_weight
from ailb_server.app.process import Process
from ailb_server.app.providers import demo_provider
from ailb_server.app.routes import OpenRoutes
from ailb_server.app.usage import journal_directory
from ailb_server.app.version import VERSION
from ailb_server.demo.server import DemoServer
from ailb_server.domain.audit import Actor
from ailb_server.domain.module import ConfigurationRefusedError
from ailb_server.marchproxy.registration import Registration
from ailb_server.server import GrpcServer, PortTakenError, Register
from ailb_server.settings import Configuration, ProviderSettings
from ailb_server.settings.tls_files import server_files
from ailb_server.storage.migrations import MigrationError
from ailb_server.storage.pool import StoreUnavailableError
from ailb_server.storage.usage_journal import JournalError
from ailb_server.telemetry.metrics import Metrics
from ailb_server.tls.files import TlsFileError
from ailb_server.tls.serving import ServerTls

# What `Gateway.start` raises when its surroundings do not let it start.
START_ERRORS = (
    StoreUnavailableError,
    MigrationError,
    PortTakenError,
    PepperError,
    JournalError,
    TlsFileError,
    TracingError,
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
        self._place = Place(configuration.settings, database_url, migrations)
        self._settings = configuration.settings
        self._closing = contextlib.AsyncExitStack()
        self._process = process or Process()
        self._signs = Signs(asyncio.Event(), asyncio.Event())
        self._tls: ServerTls | None = None
        self._ground: Ground | None = None
        self._chats: OpenChats | None = None
        self._module: OpenModule | None = None
        self._nlb: Registration | None = None
        self._server: GrpcServer | None = None
        self._drain_s: float | None = None
        self._demo: tuple[ProviderSettings, ...] = ()
        self.metrics = Metrics(configuration.settings.module_id, VERSION)

    @property
    def model_routes(self) -> OpenRoutes | None:
        """The model routes; None before the start."""
        return None if self._chats is None else self._chats.routes

    @property
    def providers(self) -> tuple[ProviderSettings, ...]:
        """Those that it began with."""
        return (*self._configuration.providers, *self._demo)

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
        return tuple(self._chats.routing.catalogue.table.models) if self._chats else ()

    def has_admin(self) -> bool:
        """Whether there is a key with the role admin."""
        return self._ground is not None and self._ground.access.has_admin

    async def make_admin(self, name: str, by: str) -> str:
        """Makes a key with the role admin, told in the audit log as done by `by`; its secret."""
        if self._ground is None:
            raise RuntimeError("not started")
        return (await first_admin(self._ground.access.administration, name, by))[1]

    async def drain(self) -> None:
        """After DRAIN_DELAY_S takes nothing new, and lets running calls end within DRAIN_TIMEOUT_S;
        or both within what the call said that asked for the end."""
        self._signs.draining.set()
        # A heartbeat at once: others learn that this instance stops.
        self._signs.changed.set()
        if self._server is not None and self._module is not None:
            settings, told_s = self._module.reloading.settings, self._drain_s
            delay_s, timeout_s = settings.drain_delay_s, settings.drain_timeout_s
            if told_s is not None:
                delay_s = min(delay_s, told_s / 2)
                timeout_s = told_s - delay_s
            _log.info("draining for at most %g s", delay_s + timeout_s)
            await self._server.announce_end()
            # Calls are taken until it knows, and sends nobody here any more.
            if self._nlb is not None:
                await self._nlb.leave(timeout_s)
            await asyncio.sleep(delay_s)
            await self._server.drain(timeout_s)

    async def reload(self, by: str) -> None:
        """Reads the configuration again; what comes of it is in the log. For signals."""
        if self._module is not None:
            with contextlib.suppress(ConfigurationRefusedError):
                await self._module.reloading.reload(Actor(by))

    async def close(self) -> None:
        """Closes what `start` opened, newest first."""
        await self._closing.aclose()

    async def _start(self, port: int) -> int:
        # Before anything that takes its time.
        files = server_files(self._settings)
        self._tls = None if files is None else ServerTls(files)
        ground = self._ground = await open_ground(
            self._place, self.metrics, self._signs, self._closing
        )
        if self._settings.demo_provider:
            await self._start_demo()
        chats = self._chats = await open_chats(
            ground, self._configuration, self._demo, self._is_draining
        )
        follow_weight(self.metrics, chats.routes.weight.current, self._closing)
        module = self._module = await open_module(self._module_parts(ground, chats))
        bound = await self._serve(port, ground, (*chats.services, *module.services))
        module.begin(self._settings, bound, self._closing)
        self._nlb = open_nlb(self._nlb_parts(chats, module), self._closing)
        return bound

    def _nlb_parts(self, chats: OpenChats, module: OpenModule) -> NlbParts:
        return NlbParts(
            settings=self._settings,
            metrics=self.metrics,
            own=module.own,
            routes=chats.routes.routes.live,
            reload=lambda: self.reload("nlb"),
        )

    def _module_parts(self, ground: Ground, chats: OpenChats) -> ModuleParts:
        roster = chats.routing.switching.roster
        return ModuleParts(
            configuration=self._configuration,
            store=ground.store,
            audit=ground.audit,
            metrics=self.metrics,
            routing=chats.routing,
            routes=chats.routes,
            health=chats.health,
            limits=ground.limits.administration(lambda: tuple(roster)),
            journals=journal_directory(self._settings),
            signs=self._signs,
            read=self._process.read,
            end=self._end if self._process.end else None,
        )

    def _end(self, drain_s: float | None) -> None:
        self._drain_s = drain_s
        if self._process.end is not None:
            self._process.end()

    async def _start_demo(self) -> None:
        demo = DemoServer()
        url = await demo.start()
        self._closing.push_async_callback(demo.stop)
        self._demo = (demo_provider(url),)

    async def _serve(self, port: int, ground: Ground, services: Sequence[Register]) -> int:
        settings, metrics = self._settings, self.metrics
        limit = settings.max_concurrent_requests
        traffic, watch = metrics.vitals.traffic, ground.observing.watch
        edge = Edge(limit, ground.access.gate, metrics.refused, traffic, watch)
        server = GrpcServer(edge, services, max_calls=limit)
        credentials = None if self._tls is None else self._tls.credentials()
        bound = await server.start(settings.host, port, credentials)
        self._server = server
        self._closing.push_async_callback(server.stop)
        if settings.metrics_port is not None:
            self._serve_metrics(settings.metrics_port)
        return bound

    def _serve_metrics(self, port: int) -> None:
        try:
            http, thread = start_http_server(port, self._settings.host, self.metrics.registry)
        except OSError as error:
            raise PortTakenError(f"METRICS_PORT {port} is taken.") from error
        self._closing.callback(thread.join)
        self._closing.callback(http.server_close)
        self._closing.callback(http.shutdown)

    def _is_draining(self) -> bool:
        return self._server is not None and self._server.draining
