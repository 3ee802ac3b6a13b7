"""What providers allow AILB, shared by all instances through leases."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ailb_server.access.bucket import Bucket
from ailb_server.access.leases import Leases, ShortageError
from ailb_server.access.rate_limits import RateLimitBook, RateLimits
from ailb_server.domain.errors import StorageUnavailableError
from ailb_server.domain.limits import Limit, Quantity
from ailb_server.domain.rate_limit import TargetKind
from ailb_server.routing.limits import ProviderLimits

_MINUTE_S = 60
# How soon to look again after what was there has gone to somebody else.
_SOON_S = 0.01


@dataclass(slots=True)
class SharedProvider:
    """A `routing.limits.SharedLimits`. `number` is the provider's in the store."""

    name: str
    leases: Leases
    book: RateLimitBook
    requests: tuple[Limit, ...] = ()
    tokens: tuple[Limit, ...] = ()
    _seen: RateLimits | None = field(init=False, default=None)
    _requests: tuple[Bucket, ...] = field(init=False, default=())
    _tokens: tuple[Bucket, ...] = field(init=False, default=())

    @property
    def limited(self) -> bool:
        """See `SharedLimits`."""
        if self.book.current is not self._seen:
            self._made()
        return bool(self._requests or self._tokens)

    def away(self, tokens: int) -> int:
        """See `SharedLimits`. What is leased goes on being used."""
        if not self.leases.away or not self.limited:
            return 0
        now, charges = self.leases.clock(), self._charges(tokens)
        if all(bucket.has(amount, now) for bucket, amount in charges):
            return 0
        return 1 + max(bucket.others for bucket, _ in charges)

    def wait_s(self, tokens: int) -> float:
        """See `SharedLimits`."""
        if not self.limited:
            return 0.0
        now = self.leases.clock()
        return max((_wait_s(b, n, now) for b, n in self._charges(tokens)), default=0.0)

    async def supplied(self, tokens: int) -> None:
        """See `SharedLimits`."""
        try:
            await self.leases.supplied(self._charges(tokens))
        except (ShortageError, StorageUnavailableError):
            return

    def enter(self, tokens: int) -> bool:
        """See `SharedLimits`."""
        return not self.limited or self.leases.taken(self._charges(tokens))

    def correct(self, taken: int, used: int) -> None:
        """See `SharedLimits`."""
        for bucket in self._tokens:
            self.leases.release(bucket, min(taken, bucket.limit.cap), used)

    def refund(self, taken: int) -> None:
        """See `SharedLimits`."""
        for bucket, amount in self._charges(taken):
            self.leases.release(bucket, amount, 0)

    def _charges(self, tokens: int) -> Sequence[tuple[Bucket, int]]:
        charges = [(bucket, 1) for bucket in self._requests]
        return [*charges, *((b, min(tokens, b.limit.cap)) for b in self._tokens)]

    def _made(self) -> None:
        self._seen = self.book.current
        set_now = self._seen.find(TargetKind.PROVIDER, self.name)
        self._requests = tuple(self.leases.bucket(one) for one in (*self.requests, *set_now))
        self._tokens = tuple(self.leases.bucket(one) for one in self.tokens)


@dataclass(frozen=True, slots=True)
class SharedProviders:
    """Makes what is shared of each provider. `numbers` has theirs in the store; `burst_s` is as for
    callers' rates."""

    leases: Leases
    book: RateLimitBook
    numbers: Mapping[str, int] = field(default_factory=dict)
    burst_s: float = 60.0

    def of(self, name: str, limits: ProviderLimits | None) -> SharedProvider:
        """Of one provider; without a number, only what is set at run time is shared."""
        number = self.numbers.get(name)
        requests = limits.requests_per_minute if limits else None
        tokens = limits.tokens_per_minute if limits else None
        return SharedProvider(
            name,
            self.leases,
            self.book,
            self._limits(number, Quantity.REQUESTS, requests),
            self._limits(number, Quantity.TOKENS, tokens),
        )

    def _limits(
        self, number: int | None, quantity: Quantity, rate: int | None
    ) -> tuple[Limit, ...]:
        if number is None or rate is None:
            return ()
        burst = max(1, int(rate * self.burst_s / _MINUTE_S))
        return (Limit("provider", number, quantity, burst, rate),)


def _wait_s(bucket: Bucket, amount: int, now: float) -> float:
    if bucket.has(amount, now) or not bucket.refuses(amount, math.inf, now):
        return 0.0
    return max(_SOON_S, bucket.wait_s(amount, now))
