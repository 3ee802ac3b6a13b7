"""The limits that hold for a caller, found once for all its requests."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain

from ailb_server.access.bucket import Bucket
from ailb_server.access.leases import Leases
from ailb_server.domain.limits import Limit, Quantity, Scope
from ailb_server.domain.principal import KeyLimits, Principal
from ailb_server.spend.reservation import Month

_MINUTE_S = 60


@dataclass(frozen=True, slots=True)
class Account:
    """A caller's buckets, its key's before its tenant's. `until` is the end of money's month."""

    who: Principal
    until: float
    requests: tuple[Bucket, ...]
    tokens: tuple[Bucket, ...]
    slots: tuple[Bucket, ...]
    money: tuple[Bucket, ...]


@dataclass(slots=True)
class Accounts:
    """Bounded; the least recently made goes first. `burst_s`: so many seconds' worth of a rate may
    come at once. `wall` is the time of day, in seconds since 1970."""

    leases: Leases
    burst_s: float = 60.0
    wall: Callable[[], float] = time.time
    max_accounts: int = 10_000
    _accounts: "OrderedDict[int, Account]" = field(init=False, default_factory=OrderedDict)

    def of(self, who: Principal) -> Account | None:
        """None if nothing limits the caller: limits are those of keys and their tenants."""
        if who.key_id is None:
            return None
        account = self._accounts.get(who.key_id)
        # The same caller is the same object for as long as its key is cached.
        if account is None or account.who is not who or self.wall() >= account.until:
            account = self._made(who, who.key_id)
        return account

    def _made(self, who: Principal, key_id: int) -> Account:
        month = Month.of(self.wall())
        limits = chain(
            self._limits("key", key_id, who.limits, month.period),
            self._limits("tenant", who.tenant_id, who.tenant_limits, month.period),
        )
        found: dict[Quantity, list[Bucket]] = {quantity: [] for quantity in Quantity}
        for limit in limits:
            found[limit.quantity].append(self.leases.bucket(limit))
        account = Account(who, month.ends_at, *(tuple(found[q]) for q in Quantity))
        self._accounts[key_id] = account
        self._accounts.move_to_end(key_id)
        if len(self._accounts) > self.max_accounts:
            self._accounts.popitem(last=False)
        return account

    def _limits(self, scope: Scope, owner: int, told: KeyLimits, period: int) -> Iterator[Limit]:
        rates = (
            (Quantity.REQUESTS, told.requests_per_minute),
            (Quantity.TOKENS, told.tokens_per_minute),
        )
        for quantity, rate in rates:
            if rate is not None:
                burst = max(1, int(rate * self.burst_s / _MINUTE_S))
                yield Limit(scope, owner, quantity, burst, per_minute=rate)
        if told.max_concurrent is not None:
            yield Limit(scope, owner, Quantity.SLOTS, told.max_concurrent)
        if told.monthly_budget_micro_dollars is not None:
            budget = told.monthly_budget_micro_dollars
            yield Limit(scope, owner, Quantity.MONEY, budget, period=period)
