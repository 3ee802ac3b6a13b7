"""Providers, the catalogue of their models, and a pipeline over them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from typing_extensions import override

from ailb_server.api.stats_service import StatsService
from ailb_server.app.embedding import (
    Embedders,
    local_provider,
    open_embedders,
    start_local_embedder,
)
from ailb_server.app.observing import watch_routing
from ailb_server.app.switching import Allowed, Switching
from ailb_server.domain.chat import ChatRequest
from ailb_server.domain.errors import Reason
from ailb_server.domain.ports import TokenCounter
from ailb_server.domain.target import Target
from ailb_server.pipeline.chat import ChatPipeline
from ailb_server.pipeline.counting import TokenCounting
from ailb_server.pipeline.record import ChatObserver
from ailb_server.pipeline.traffic import Traffic
from ailb_server.providers.anthropic import AnthropicProvider
from ailb_server.routing.catalogue import Catalogue
from ailb_server.routing.dispatcher import AttemptSeen, Dispatcher
from ailb_server.routing.ledger import Ledger
from ailb_server.routing.roster import Member, Roster
from ailb_server.routing.router import Router
from ailb_server.settings import Configuration, ProviderSettings, Settings
from ailb_server.spend.reservation import Pricing
from ailb_server.telemetry.metrics import Metrics
from ailb_server.telemetry.price_metrics import PriceMetrics


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
    switching: Switching


@dataclass(frozen=True, slots=True)
class RoutingRules:
    """What limits and budgets tell routing: `pricing` is what models without a price cost."""

    allowed: Allowed
    pricing: Pricing


async def open_routing(
    configuration: Configuration,
    extra: Sequence[ProviderSettings],
    rules: RoutingRules,
    metrics: Metrics,
    observer: ChatObserver,
    closing: AsyncExitStack,
) -> OpenRouting:
    """`extra` are providers beside the configured ones, such as the demo; `observer` hears of what
    the embedders ask. No connection is opened yet."""
    settings = configuration.settings
    ledger, roster = Ledger(), Roster({})
    closing.push_async_callback(roster.close)
    local = start_local_embedder(settings, metrics.embedding, closing)
    catalogue = Catalogue((), ledger)
    router = Router(catalogue, ledger)
    seen = _attempt_seen(metrics, catalogue)
    dispatcher = Dispatcher(roster, ledger, seen)
    watch_routing(metrics, ledger, dispatcher)
    refused = PriceMetrics(metrics.registry).refused
    parts = (roster, ledger, catalogue, router, dispatcher, rules.allowed, refused)
    switching = Switching(*parts, extra, local_provider(settings, local))
    await switching.begin(configuration)
    pipeline = ChatPipeline(router, dispatcher, observer, pricing=rules.pricing)
    traffic = Traffic()
    return OpenRouting(
        catalogue=catalogue,
        pipeline=pipeline,
        counting=TokenCounting(catalogue, Counters(roster), ledger, seen),
        stats=_stats(settings, ledger, router, traffic),
        traffic=traffic,
        switching=switching,
        embedders=open_embedders(settings, local, pipeline, metrics.embedding, closing),
    )


def _stats(settings: Settings, ledger: Ledger, router: Router, traffic: Traffic) -> StatsService:
    return StatsService(
        settings.module_id,
        lambda: router.defaults.strategy,
        ledger.snapshot,
        router.decisions.snapshot,
        traffic.snapshot,
    )


def _attempt_seen(metrics: Metrics, catalogue: Catalogue) -> AttemptSeen:
    def seen(target: Target, seconds: float, failure: str | None) -> None:
        metrics.requests.attempt(target, seconds, failure)
        if failure == Reason.MODEL_NOT_FOUND:
            catalogue.doubt(target.provider)

    return seen


class Counters(Mapping[str, TokenCounter]):
    """Those of the roster that count tokens, as it stands when they are asked."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster

    @override
    def __getitem__(self, name: str) -> TokenCounter:
        member = self._roster.member(name)
        if member is None or not isinstance(member.provider, AnthropicProvider):
            raise KeyError(name)
        return _Counter(member, member.provider)

    @override
    def __iter__(self) -> Iterator[str]:
        return (name for name in self._roster if name in self)

    @override
    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(frozen=True, slots=True)
class _Counter:
    """Keeps the provider's connections open while it counts."""

    member: Member
    counter: TokenCounter

    async def count_tokens(self, request: ChatRequest, model: str) -> bytes:
        """See `TokenCounter`."""
        with self.member:
            return await self.counter.count_tokens(request, model)
