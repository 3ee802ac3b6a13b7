"""Providers, the catalogue of their models, and a pipeline over them."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from ailb_server.api.stats_service import StatsService
from ailb_server.app.embedding import (
    Embedders,
    local_declaration,
    local_provider,
    open_embedders,
    start_local_embedder,
)
from ailb_server.app.providers import (
    Provider,
    aliases,
    declaration,
    dispatch_rules,
    limits,
    provider_of,
)
from ailb_server.domain.errors import Reason
from ailb_server.domain.target import Target
from ailb_server.pipeline.chat import ChatPipeline
from ailb_server.pipeline.counting import TokenCounting
from ailb_server.pipeline.record import ChatObserver
from ailb_server.pipeline.traffic import Traffic
from ailb_server.providers.anthropic import AnthropicProvider
from ailb_server.routing.catalogue import Catalogue
from ailb_server.routing.dispatcher import AttemptSeen, Dispatcher
from ailb_server.routing.ledger import Ledger, LedgerRules
from ailb_server.routing.router import Router, RouterDefaults
from ailb_server.settings import Configuration, ProviderSettings, Settings
from ailb_server.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class OpenRouting:
    """`pipeline` has no context yet, and is the embedders': callers' has an observer of its own.

    `traffic` is to be told of callers' requests.
    """

    catalogue: Catalogue
    pipeline: ChatPipeline
    counting: TokenCounting
    stats: StatsService
    traffic: Traffic
    embedders: Embedders


def open_routing(
    configuration: Configuration,
    configured: Sequence[ProviderSettings],
    metrics: Metrics,
    observer: ChatObserver,
    closing: AsyncExitStack,
) -> OpenRouting:
    """`configured` are the providers, the demo among them; `observer` is told of what the embedders
    ask. No connection is opened yet."""
    settings = configuration.settings
    ledger = Ledger(LedgerRules(limits={p.name: limits(p) for p in configured}))
    providers = {p.name: _opened(p, configuration, closing) for p in configured}
    declarations = [
        declaration(p, providers[p.name], list_prices=settings.list_prices) for p in configured
    ]
    counters = {n: p for n, p in providers.items() if isinstance(p, AnthropicProvider)}
    local = start_local_embedder(settings, metrics.embedding, closing)
    if served := local_provider(settings, local, providers.keys()):
        providers[served.name] = served
        declarations.append(local_declaration(served))
    catalogue = Catalogue(declarations, ledger, aliases(configuration.aliases))
    defaults = RouterDefaults(settings.routing_strategy, settings.hedge_after_s)
    router = Router(catalogue, ledger, defaults)
    seen = _attempt_seen(metrics, catalogue)
    pipeline = ChatPipeline(
        router=router,
        dispatcher=Dispatcher(providers, ledger, seen, dispatch_rules(settings)),
        observer=observer,
    )
    traffic = Traffic()
    return OpenRouting(
        catalogue=catalogue,
        pipeline=pipeline,
        counting=TokenCounting(catalogue, counters, ledger, seen),
        stats=_stats(settings, ledger, router, traffic),
        traffic=traffic,
        embedders=open_embedders(settings, local, pipeline, metrics.embedding, closing),
    )


def _stats(settings: Settings, ledger: Ledger, router: Router, traffic: Traffic) -> StatsService:
    return StatsService(
        settings.module_id,
        settings.routing_strategy,
        ledger.snapshot,
        router.decisions.snapshot,
        traffic.snapshot,
    )


def _attempt_seen(metrics: Metrics, catalogue: Catalogue) -> AttemptSeen:
    def seen(target: Target, seconds: float, failure: str | None) -> None:
        metrics.attempt(target, seconds, failure)
        if failure == Reason.MODEL_NOT_FOUND:
            catalogue.doubt(target.provider)

    return seen


def _opened(
    settings: ProviderSettings, configuration: Configuration, closing: AsyncExitStack
) -> Provider:
    provider = provider_of(settings, configuration.settings)
    closing.push_async_callback(provider.close)
    return provider
