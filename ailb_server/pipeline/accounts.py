"""The limits that hold for a caller, found once for all its requests."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from ailb_server.access.bucket import Bucket
from ailb_server.access.leases import Leases
from ailb_server.access.rate_limits import RateLimitBook, RateLimits
from ailb_server.domain.chat import ChatRequest
from ailb_server.domain.limits import Limit, Quantity, Scope
from ailb_server.domain.principal import ANYONE, KeyLimits, Principal
from ailb_server.domain.rate_limit import TargetKind
from ailb_server.domain.route import Asker
from ailb_server.spend.reservation import Month

_MINUTE_S = 60


# Tells the id of the route that takes a request; None if none does.
RouteOf = Callable[[ChatRequest, Asker | None], str | None]


def no_route(request: ChatRequest, asker: Asker | None) -> str | None:
    """A `RouteOf` where there are no routes."""
    del request, asker
    return None


@dataclass(frozen=True, slots=True)
class Account:
    """A caller's buckets, its key's before its tenant's. `until` is the end of money's month;
    `book` the rate limits of when it was made."""

    who: Principal
    until: float
    book: RateLimits
    requests: tuple[Bucket, ...]
    tokens: tuple[Bucket, ...]
    slots: tuple[Bucket, ...]
    money: tuple[Bucket, ...]


# Of a caller that has no limits of its own.
NO_ACCOUNT = Account(ANYONE, math.inf, RateLimits(), (), (), (), ())


@dataclass(slots=True)
class Accounts:
    """Bounded; the least recently made goes first. `burst_s`: so many seconds' worth of a rate may
    come at once. `book` has the limits set at run time. `wall` is the time of day, in seconds
    since 1970."""

    leases: Leases
    burst_s: float = 60.0
    wall: Callable[[], float] = time.time
    book: RateLimitBook = field(default_factory=RateLimitBook)
    route_of: RouteOf = no_route
    max_accounts: int = 10_000
    _accounts: "OrderedDict[int, Account]" = field(init=False, default_factory=OrderedDict)

    def of(self, who: Principal) -> Account | None:
        """None if nothing of its own limits the caller: neither its key, nor its tenant."""
        number = who.key_id
        if number is None:
            if not self.book.current.find(TargetKind.TENANT, who.tenant_id):
                return None
            number = -who.tenant_id
        account = self._accounts.get(number)
        # The same caller is the same object for as long as its key is cached.
        if account is None or account.who is not who or self._is_old(account):
            account = self._made(who, number)
        return account

    def everyones(self, request: ChatRequest, asker: Asker | None) -> Sequence[Bucket]:
        """What limits every caller: everything, this model, the request's route."""
        book = self.book.current
        if not book.by_target:
            return ()
        limits = (
            *book.find(TargetKind.GLOBAL),
            *book.find(TargetKind.MODEL, request.model),
            *book.find(TargetKind.ROUTE, self.route_of(request, asker) or ""),
        )
        return [self.leases.bucket(limit) for limit in limits]

    def _is_old(self, account: Account) -> bool:
        return self.wall() >= account.until or account.book is not self.book.current

    def _made(self, who: Principal, number: int) -> Account:
        month, book = Month.of(self.wall()), self.book.current
        limits = chain(self._own(who, book, month.period), self._tenants(who, book, month.period))
        found: dict[Quantity, list[Bucket]] = {quantity: [] for quantity in Quantity}
        for limit in limits:
            found[limit.quantity].append(self.leases.bucket(limit))
        account = Account(who, month.ends_at, book, *(tuple(found[q]) for q in Quantity))
        self._accounts[number] = account
        self._accounts.move_to_end(number)
        if len(self._accounts) > self.max_accounts:
            self._accounts.popitem(last=False)
        return account

    def _own(self, who: Principal, book: RateLimits, period: int) -> Iterator[Limit]:
        if who.key_id is not None:
            yield from self._limits("key", who.key_id, who.limits, period)
            yield from book.find(TargetKind.KEY, who.key_id)

    def _tenants(self, who: Principal, book: RateLimits, period: int) -> Iterator[Limit]:
        # Without a key, what the tenant's keys share does not hold; what is set at run time does.
        if who.key_id is not None:
            yield from self._limits("tenant", who.tenant_id, who.tenant_limits, period)
        yield from book.find(TargetKind.TENANT, who.tenant_id)

    def _limits(self, scope: Scope, owner: int, told: KeyLimits, period: int) -> Iterator[Limit]:
        rates = (
            (Quantity.REQUESTS, told.requests_per_minute),
            (Quantity.TOKENS, told.tokens_per_minute),
        )
        for quantity, rate in rates:
            if rate is not None:
                burst = max(1, int(rate * self.burst_s / _MINUTE_S))
                yield Limit(scope, owner, quantity, burst, rate=rate)
        if told.max_concurrent is not None:
            yield Limit(scope, owner, Quantity.SLOTS, told.max_concurrent)
        if told.monthly_budget_micro_dollars is not None:
            budget = told.monthly_budget_micro_dollars
            yield Limit(scope, owner, Quantity.MONEY, budget, period=period)
