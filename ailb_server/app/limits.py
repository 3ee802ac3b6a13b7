"""Limits and budgets, put together."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from ailb_server.access.bucket import LeaseRules
from ailb_server.access.leases import Leases
from ailb_server.access.limit_administration import LimitAdministration
from ailb_server.access.rate_limit_watch import RateLimitWatch
from ailb_server.access.rate_limits import RateLimitBook
from ailb_server.app.providers import limits
from ailb_server.domain.admission import Admission
from ailb_server.domain.errors import StorageUnavailableError
from ailb_server.domain.target import Price
from ailb_server.pipeline.accounts import Accounts, RouteOf, no_route
from ailb_server.pipeline.admission import LimitedAdmission
from ailb_server.pipeline.provider_limits import SharedProviders
from ailb_server.routing.catalogue import Catalogue
from ailb_server.routing.ledger import LedgerRules
from ailb_server.routing.limits import SharedLimits
from ailb_server.settings import ProviderSettings, Settings
from ailb_server.spend.reservation import Pricing, UnknownPrice
from ailb_server.storage.limits import CHANNEL, PostgresLimits
from ailb_server.storage.pool import Store
from ailb_server.storage.provider_numbers import PostgresProviderNumbers
from ailb_server.storage.rate_limits import CHANNEL as RATE_LIMITS
from ailb_server.storage.rate_limits import PostgresRateLimits
from ailb_server.telemetry.limit_metrics import LimitMetrics

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OpenLimits:
    """`pricing` is for the pipeline too; `heard` is what to do with announcements, by channel; an
    empty one says that some may have been missed."""

    leases: Leases
    book: RateLimitBook
    kept: PostgresRateLimits
    metrics: LimitMetrics
    pricing: Pricing
    heard: Mapping[str, Callable[[str], None]]
    # Of providers, as the store has told them so far.
    numbers: dict[str, int] = field(default_factory=dict)

    def admission(
        self, settings: Settings, catalogue: Catalogue, route_of: RouteOf = no_route
    ) -> Admission:
        """For the pipeline."""

        def prices(model: str) -> Sequence[Price | None]:
            return [target.price for target in catalogue.candidates(model)]

        return LimitedAdmission(
            Accounts(self.leases, settings.limit_burst_s, book=self.book, route_of=route_of),
            self.leases,
            self.pricing,
            prices,
            self.metrics,
            outage_denies=settings.limits_outage == "deny",
        )

    def administration(self, providers: Callable[[], Collection[str]]) -> LimitAdministration:
        """Sets rate limits at run time; `providers` names those that are configured."""
        return LimitAdministration(self.kept, providers)

    async def ledger_rules(
        self, settings: Settings, configured: Sequence[ProviderSettings]
    ) -> LedgerRules:
        """For routing: what providers allow, shared by all instances."""
        allowed = {provider.name: limits(provider) for provider in configured}
        limited = [name for name, found in allowed.items() if found.any()]
        try:
            self.numbers.update(await PostgresProviderNumbers(self.kept.store).numbers(limited))
        except StorageUnavailableError:
            _log.warning("the store is away: providers that are new here share no limits yet")
        shared = SharedProviders(self.leases, self.book, {**self.numbers}, settings.limit_burst_s)

        def of(name: str) -> SharedLimits:
            return shared.of(name, allowed.get(name))

        return LedgerRules(
            limits=allowed, shared=of, outage_denies=settings.limits_outage == "deny"
        )


async def open_limits(
    settings: Settings, store: Store, metrics: LimitMetrics, closing: AsyncExitStack
) -> OpenLimits:
    """Begins the tasks that lease and watch; `closing` ends them before the store."""
    rules = LeaseRules()
    leases = Leases(PostgresLimits(store, settings.module_id, rules.ttl_s), metrics, rules)
    leases.start()
    closing.push_async_callback(leases.close)
    book, kept = RateLimitBook(), PostgresRateLimits(store, settings.module_id)
    watch = RateLimitWatch(kept, book, poll_s=settings.key_cache_ttl_s)
    await watch.start()
    closing.push_async_callback(watch.close)
    heard = {CHANNEL: leases.recalled, RATE_LIMITS: watch.heard}
    return OpenLimits(leases, book, kept, metrics, Pricing(_unknown(settings)), heard)


def _unknown(settings: Settings) -> UnknownPrice:
    price = settings.unknown_price
    if isinstance(price, int):
        return UnknownPrice(price=Price(price, price))
    return UnknownPrice(denied=price == "deny")
