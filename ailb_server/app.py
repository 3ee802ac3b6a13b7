"""The composition root: the one module that knows every concrete class."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Protocol

from prometheus_client import start_http_server
from pydantic import AnyHttpUrl

from ailb.anthropic.v1 import anthropic_service_pb2_grpc
from ailb.openai.v1 import openai_service_pb2_grpc
from ailb.v1 import (
    chat_service_pb2_grpc,
    embedding_service_pb2_grpc,
    health_service_pb2_grpc,
    metrics_service_pb2_grpc,
    model_service_pb2_grpc,
    stats_service_pb2_grpc,
)
from ailb_server.api.anthropic_service import AnthropicService
from ailb_server.api.chat_service import ChatService
from ailb_server.api.edge import Edge
from ailb_server.api.embedding_service import EmbeddingService
from ailb_server.api.health_service import HealthService, Instance
from ailb_server.api.metrics_service import MetricsService
from ailb_server.api.model_service import ModelService
from ailb_server.api.openai_service import OpenAIService
from ailb_server.api.stats_service import StatsService
from ailb_server.demo.server import DemoServer
from ailb_server.domain.errors import Reason
from ailb_server.domain.ports import ChatProvider
from ailb_server.domain.target import Target
from ailb_server.pipeline.chat import ChatPipeline
from ailb_server.pipeline.counting import TokenCounting
from ailb_server.pipeline.metering import Metering
from ailb_server.providers.anthropic import AnthropicProvider
from ailb_server.providers.ollama import OllamaProvider, OllamaServer
from ailb_server.providers.openai import OpenAIProvider
from ailb_server.providers.openai_account import OpenAIAccount
from ailb_server.providers.upstream import Timeouts, Upstream
from ailb_server.routing.catalogue import Catalogue, Declaration
from ailb_server.routing.dispatcher import AttemptSeen, Dispatcher, DispatchRules
from ailb_server.routing.ledger import Ledger, LedgerRules
from ailb_server.routing.limits import ProviderLimits
from ailb_server.routing.operations import operations_of
from ailb_server.routing.router import Router, RouterDefaults
from ailb_server.routing.table import Alias
from ailb_server.server import GrpcServer, PortTakenError, Register
from ailb_server.settings import AliasSettings, Configuration, ProviderSettings, Settings
from ailb_server.spend.list_prices import list_price_of
from ailb_server.storage.migrations import MigrationError, migrate
from ailb_server.storage.pool import Store, StoreUnavailableError
from ailb_server.telemetry.metrics import Metrics

VERSION = metadata.version("ailb-server")
DEMO = "demo"
DEMO_OWNER = "ailb-demo"
# How long a start waits for the providers' listings before it serves what it knows.
_FIRST_LISTING_S = 2.0
# A provider that has told nothing yet is asked again after twice that, and twice again.
_FIRST_AGAIN_S = 0.25
# However much a listing is in doubt, it is not asked for more often.
_LEAST_REFRESH_S = 1.0

# What `Gateway.start` raises when its surroundings do not let it start.
START_ERRORS = (StoreUnavailableError, MigrationError, PortTakenError)

_log = logging.getLogger(__name__)


class Provider(ChatProvider, Protocol):
    """A provider that holds connections."""

    async def close(self) -> None:
        """Closes all connections."""
        ...


class Gateway:
    """One instance: everything that runs in one process, from start to close."""

    def __init__(self, configuration: Configuration, database_url: str, migrations: Path) -> None:
        self._configuration = configuration
        self._settings = configuration.settings
        self._migrations = migrations
        self._database_url = database_url
        self._closing = contextlib.AsyncExitStack()
        self._server: GrpcServer | None = None
        self._catalogue: Catalogue | None = None
        self.providers: tuple[ProviderSettings, ...] = configuration.providers

    async def start(self, *, port: int | None = None) -> int:
        """Store, migrations, providers, server, in this order; returns the gRPC port.

        Raises StoreUnavailableError, MigrationError or PortTakenError; what had started is closed.
        """
        try:
            return await self._start(self._settings.grpc_port if port is None else port)
        except BaseException:
            await self.close()
            raise

    def models(self) -> tuple[str, ...]:
        """The names that callers may ask for now, in the providers' order."""
        return tuple(self._catalogue.table.models) if self._catalogue else ()

    async def drain(self) -> None:
        """Takes nothing new and lets running calls end, bounded by DRAIN_TIMEOUT_S."""
        if self._server is not None:
            await self._server.drain(self._settings.drain_timeout_s)

    async def close(self) -> None:
        """Closes what `start` opened, newest first."""
        await self._closing.aclose()

    async def _start(self, port: int) -> int:
        settings = self._settings
        metrics = Metrics(settings.module_id, VERSION)
        store = await self._open_store()
        if settings.demo_provider:
            await self._start_demo()
        ledger = Ledger(LedgerRules(limits={p.name: _limits(p) for p in self.providers}))
        providers = {p.name: self._provider(p) for p in self.providers}
        catalogue = Catalogue(
            [self._declaration(p, providers[p.name]) for p in self.providers],
            ledger,
            _aliases(self._configuration.aliases),
        )
        self._catalogue = catalogue
        await self._keep_fresh(catalogue)
        defaults = RouterDefaults(settings.routing_strategy, settings.hedge_after_s)
        router = Router(catalogue, ledger, defaults)
        seen = _attempt_seen(metrics, catalogue)
        pipeline = ChatPipeline(
            router=router,
            dispatcher=Dispatcher(providers, ledger, seen, _dispatch_rules(settings)),
            observer=Metering(metrics),
        )
        instance = Instance(settings.module_id, VERSION, self._is_draining)
        health = HealthService(instance, catalogue, store.ping)
        stats = StatsService(settings.routing_strategy, ledger.snapshot, router.decisions.snapshot)
        counters = {n: p for n, p in providers.items() if isinstance(p, AnthropicProvider)}
        messages = AnthropicService(pipeline, TokenCounting(catalogue, counters, ledger, seen))
        services = _services(pipeline, messages, catalogue, metrics, health, stats)
        return await self._serve(port, metrics, services)

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
        self.providers = (*self.providers, demo_provider(url))

    def _provider(self, settings: ProviderSettings) -> Provider:
        upstream = Upstream(
            settings.name,
            timeouts=_timeouts(self._settings),
            pool_size=self._settings.upstream_pool_size,
        )
        provider = _provider_of(settings, upstream, self._settings.ollama_num_ctx)
        self._closing.push_async_callback(provider.close)
        return provider

    def _declaration(self, settings: ProviderSettings, provider: Provider) -> Declaration:
        return Declaration(
            provider=settings.name,
            owned_by=settings.owned_by or settings.name,
            listing=provider,
            models=settings.models,
            weight=settings.weight,
            prices={model: price.price() for model, price in settings.prices.items()},
            capabilities={m: c.capabilities() for m, c in settings.capabilities.items()},
            list_price=(
                list_price_of(str(settings.base_url)) if self._settings.list_prices else None
            ),
            operations=operations_of(provider),
        )

    async def _keep_fresh(self, catalogue: Catalogue) -> None:
        first = asyncio.Event()
        task = asyncio.create_task(
            _refresh_for_ever(catalogue, self._settings.provider_refresh_s, first)
        )
        self._closing.push_async_callback(_cancel, task)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(first.wait(), _FIRST_LISTING_S)

    async def _serve(self, port: int, metrics: Metrics, services: Sequence[Register]) -> int:
        settings = self._settings
        limit = settings.max_concurrent_requests
        server = GrpcServer(Edge(limit, metrics.refused), services, max_calls=limit)
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


def demo_provider(url: str) -> ProviderSettings:
    """The demo provider as routing sees it: one of OpenAI's format, labelled."""
    return ProviderSettings(name=DEMO, base_url=AnyHttpUrl(url), owned_by=DEMO_OWNER)


def _services(
    pipeline: ChatPipeline,
    messages: AnthropicService,
    catalogue: Catalogue,
    metrics: Metrics,
    health: HealthService,
    stats: StatsService,
) -> Sequence[Register]:
    return (
        partial(anthropic_service_pb2_grpc.add_AnthropicServiceServicer_to_server, messages),
        partial(
            openai_service_pb2_grpc.add_OpenAIServiceServicer_to_server, OpenAIService(pipeline)
        ),
        partial(chat_service_pb2_grpc.add_ChatServiceServicer_to_server, ChatService(pipeline)),
        partial(
            embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server,
            EmbeddingService(pipeline),
        ),
        partial(model_service_pb2_grpc.add_ModelServiceServicer_to_server, ModelService(catalogue)),
        partial(
            metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server, MetricsService(metrics)
        ),
        partial(health_service_pb2_grpc.add_HealthServiceServicer_to_server, health),
        partial(stats_service_pb2_grpc.add_StatsServiceServicer_to_server, stats),
    )


def _provider_of(settings: ProviderSettings, upstream: Upstream, num_ctx: int) -> Provider:
    name, url, headers = settings.name, str(settings.base_url), settings.headers
    key = settings.api_key.get_secret_value() if settings.api_key else None
    match settings.kind:
        case "openai":
            openai = OpenAIAccount(name, url, key, headers=headers)
            return OpenAIProvider(name, openai, upstream)
        case "ollama":
            ollama = OllamaServer(url, settings.num_ctx or num_ctx, api_key=key, headers=headers)
            return OllamaProvider(name, ollama, upstream)
        case "anthropic":
            # Its package takes a second and 78 MB, which only those who use it should pay.
            from ailb_server.providers.anthropic_account import AnthropicAccount  # noqa: PLC0415

            anthropic = AnthropicAccount(name, url, key, headers=headers)
            return AnthropicProvider(name, anthropic, upstream)


def _limits(settings: ProviderSettings) -> ProviderLimits:
    return ProviderLimits(
        max_concurrent=settings.max_concurrent,
        requests_per_minute=settings.requests_per_minute,
        tokens_per_minute=settings.tokens_per_minute,
    )


def _aliases(
    settings: Mapping[str, AliasSettings | tuple[str, ...]],
) -> Mapping[str, Alias]:
    return {
        name: Alias(alias.models, alias.strategy, alias.hedge_after_s)
        if isinstance(alias, AliasSettings)
        else Alias(tuple(alias))
        for name, alias in settings.items()
    }


def _attempt_seen(metrics: Metrics, catalogue: Catalogue) -> AttemptSeen:
    def seen(target: Target, seconds: float, failure: str | None) -> None:
        metrics.attempt(target, seconds, failure)
        if failure == Reason.MODEL_NOT_FOUND:
            catalogue.doubt(target.provider)

    return seen


def _dispatch_rules(settings: Settings) -> DispatchRules:
    return DispatchRules(
        total_s=settings.total_timeout_s,
        queue_s=settings.rate_limit_wait_s,
        queue_places=settings.rate_limit_queue,
    )


def _timeouts(settings: Settings) -> Timeouts:
    return Timeouts(
        connect_s=settings.connect_timeout_s,
        first_token_s=settings.first_token_timeout_s,
        between_tokens_s=settings.between_tokens_timeout_s,
        total_s=settings.total_timeout_s,
    )


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


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
