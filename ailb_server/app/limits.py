"""Limits and budgets, put together."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from ailb_server.access.bucket import LeaseRules
from ailb_server.access.leases import Leases
from ailb_server.domain.admission import Admission
from ailb_server.domain.target import Price
from ailb_server.pipeline.accounts import Accounts
from ailb_server.pipeline.admission import LimitedAdmission
from ailb_server.routing.catalogue import Catalogue
from ailb_server.settings import Settings
from ailb_server.spend.reservation import Pricing, UnknownPrice
from ailb_server.storage.limits import CHANNEL, PostgresLimits
from ailb_server.storage.pool import Store
from ailb_server.telemetry.limit_metrics import LimitMetrics


@dataclass(frozen=True, slots=True)
class OpenLimits:
    """`pricing` is for the pipeline too; `heard` is what to do with announcements, by channel."""

    leases: Leases
    metrics: LimitMetrics
    pricing: Pricing
    heard: Mapping[str, Callable[[str], None]]

    def admission(self, settings: Settings, catalogue: Catalogue) -> Admission:
        """For the pipeline."""

        def prices(model: str) -> Sequence[Price | None]:
            return [target.price for target in catalogue.candidates(model)]

        return LimitedAdmission(
            Accounts(self.leases, settings.limit_burst_s),
            self.leases,
            self.pricing,
            prices,
            self.metrics,
            outage_denies=settings.limits_outage == "deny",
        )


def open_limits(
    settings: Settings, store: Store, metrics: LimitMetrics, closing: AsyncExitStack
) -> OpenLimits:
    """Begins the task that leases, within a running loop; `closing` ends it before the store."""
    rules = LeaseRules()
    leases = Leases(PostgresLimits(store, settings.module_id, rules.ttl_s), metrics, rules)
    leases.start()
    closing.push_async_callback(leases.close)
    pricing = Pricing(_unknown(settings))
    return OpenLimits(leases, metrics, pricing, {CHANNEL: leases.recalled})


def _unknown(settings: Settings) -> UnknownPrice:
    price = settings.unknown_price
    if isinstance(price, int):
        return UnknownPrice(price=Price(price, price))
    return UnknownPrice(denied=price == "deny")
