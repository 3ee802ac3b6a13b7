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
    provider_of,
)
from ailb_server.domain.errors import Reason
from ailb_server.domain.target import Target
from ailb_server.pipeline.chat import ChatPipeline
from ailb_server.pipeline.counting import TokenCounting
from ailb_server.pipeline.record import ChatObserver
from ailb_server.providers.anthropic import AnthropicProvider
from ailb_server.routing.catalogue import Catalogue
from ailb_server.routing.dispatcher import AttemptSeen, Dispatcher
from ailb_server.routing.ledger import Ledger, LedgerRules
from ailb_server.routing.router import Router, RouterDefaults
from ailb_server.settings import Configuration, ProviderSettings
from ailb_server.spend.list_prices import list_prices_of
from ailb_server.spend.reservation import Pricing
from ailb_server.telemetry.metrics import Metrics
from ailb_server.telemetry.price_metrics import PriceMetrics


@dataclass(frozen=True, slots=True)
class OpenRouting:
    """`pipeline` has no context yet, and is the embedders': callers' has an observer of its own."""

    catalogue: Catalogue
    pipeline: ChatPipeline
    counting: TokenCounting
    stats: StatsService
    embedders: Embedders


@dataclass(frozen=True, slots=True)
class RoutingRules:
    """What limits and budgets tell routing: `pricing` is what models without a price cost."""

    ledger: LedgerRules
    pricing: Pricing


def open_routing(
    configuration: Configuration,
    configured: Sequence[ProviderSettings],
    metrics: Metrics,
    observer: ChatObserver,
    rules: RoutingRules,
    closing: AsyncExitStack,
) -> OpenRouting:
    """`configured` are the providers, the demo among them; `observer` is told of what the embedders
    ask. No connection is opened yet."""
    settings = configuration.settings
    ledger = Ledger(rules.ledger)
    providers = {p.name: _opened(p, configuration, closing) for p in configured}
    refused = PriceMetrics(metrics.registry).refused
    declarations = []
    for p in configured:
        prices = list_prices_of(str(p.base_url), refused) if settings.list_prices else None
        declarations.append(declaration(p, providers[p.name], prices))
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
        pricing=rules.pricing,
    )
    return OpenRouting(
        catalogue=catalogue,
        pipeline=pipeline,
        counting=TokenCounting(catalogue, counters, ledger, seen),
        stats=StatsService(settings.routing_strategy, ledger.snapshot, router.decisions.snapshot),
        embedders=open_embedders(settings, local, pipeline, metrics.embedding, closing),
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
