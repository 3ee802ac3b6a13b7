"""What a request may cost before it is made, and the month that it is charged to."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ailb_server.domain.chat import TokenUsage
from ailb_server.domain.target import Price

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class UnknownPrice:
    """What models without a price count for in budgets: nothing, or `price`; or they are denied."""

    denied: bool = False
    price: Price | None = None


@dataclass(frozen=True, slots=True)
class Pricing:
    """Costs where a budget needs them."""

    unknown: UnknownPrice = field(default_factory=UnknownPrice)

    def cost(self, usage: TokenUsage, price: Price | None) -> int:
        """Micro-dollars; a price that is not known as the setting says."""
        return self.cost_if_known(usage, price) or 0

    def cost_if_known(self, usage: TokenUsage, price: Price | None) -> int | None:
        """As `cost`; None if the setting does not say either."""
        known = price or self.unknown.price
        return known.micro_dollars(usage) if known else None

    def worst(self, prompt: int, completion: int, prices: Iterable[Price | None]) -> int:
        """Micro-dollars, rounded up, of that many tokens at the dearest of the prices."""
        known = [price or self.unknown.price for price in prices]
        return max((_worst(prompt, completion, price) for price in known if price), default=0)


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month, UTC: YYYYMM, and where it ends, in seconds since 1970."""

    period: int
    ends_at: float

    @classmethod
    def of(cls, wall: float) -> "Month":
        """The month of a time in seconds since 1970."""
        now = datetime.fromtimestamp(wall, UTC)
        year, month = divmod(now.year * 12 + now.month, 12)
        return cls(now.year * 100 + now.month, datetime(year, month + 1, 1, tzinfo=UTC).timestamp())


def _worst(prompt: int, completion: int, price: Price) -> int:
    price = price.at(prompt)
    each = max(price.prompt, price.cached or 0, price.cache_write or 0)
    said = max(price.completion, price.reasoning or 0)
    return -(-(prompt * each + completion * said) // _MILLION)
