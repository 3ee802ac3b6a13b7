"""Lets requests in by their callers' limits and budgets, and settles what they came to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ailb_server.access.bucket import Bucket
from ailb_server.access.leases import Leases, ShortageError
from ailb_server.domain.admission import Admitted
from ailb_server.domain.chat import ChatRequest, TokenUsage
from ailb_server.domain.errors import PermissionDeniedError, StorageUnavailableError
from ailb_server.domain.limits import Quantity, Settlement
from ailb_server.domain.principal import Principal
from ailb_server.domain.route import Asker
from ailb_server.domain.target import Price, Target
from ailb_server.pipeline.accounts import NO_ACCOUNT, Account, Accounts
from ailb_server.pipeline.rate_headers import rate_headers, refusal
from ailb_server.routing.facts import RequestFacts
from ailb_server.spend.reservation import Pricing

# The prices of all targets that a model's name may be routed to; None is a price not known.
Prices = Callable[[str], Sequence[Price | None]]


class AdmissionObserver(Protocol):
    """Who is told of what limits did; must not block and must not raise."""

    def refused(self, scope: str, quantity: str) -> None:
        """A request beyond a limit."""
        ...

    def unchecked(self, *, allowed: bool) -> None:
        """A request whose limits could not be checked: the store is away."""
        ...

    def unpriced(self) -> None:
        """A request within a budget whose price is not known."""
        ...


class Unlimited:
    """The `Admitted` of a caller without limits."""

    headers: Sequence[tuple[str, str]] = ()

    def settle(self, target: Target | None, usage: TokenUsage | None) -> Sequence[Settlement]:
        """There is nothing to settle."""
        del target, usage
        return ()


class OpenAdmission:
    """An `Admission` that lets everything in."""

    async def admit(
        self, who: Principal, request: ChatRequest, asker: Asker | None = None
    ) -> Admitted:
        """See `Admission`."""
        del who, request, asker
        return Unlimited()

    async def readmit(
        self, who: Principal, request: ChatRequest, asker: Asker | None = None
    ) -> Admitted:
        """See `Readmission`."""
        del who, request, asker
        return Unlimited()


@dataclass(slots=True)
class Running:
    """See `domain.admission.Admitted`. `charges` is what was taken for it."""

    leases: Leases
    account: Account
    pricing: Pricing
    charges: Sequence[tuple[Bucket, int]]

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """See `Admitted`."""
        return rate_headers(self.account, self.leases.clock())

    def settle(self, target: Target | None, usage: TokenUsage | None) -> Sequence[Settlement]:
        """See `Admitted`."""
        took = usage if usage is not None and target is not None else TokenUsage()
        cost = self.pricing.cost(took, target.price) if target is not None else 0
        tokens = took.prompt + took.completion
        used = {Quantity.TOKENS: tokens, Quantity.MONEY: cost, Quantity.SLOTS: 0}
        charges, self.charges = self.charges, ()
        for bucket, amount in charges:
            if bucket.limit.quantity in used:
                self.leases.release(bucket, amount, used[bucket.limit.quantity])
        money = Quantity.MONEY
        return [b.settlement() for b, _ in charges if cost and b.limit.quantity is money]


@dataclass(slots=True)
class LimitedAdmission:
    """An `Admission`. With `outage_denies`, what cannot be checked is refused with 503; else let
    in. It is checked, also without the store, as long as what is leased lasts."""

    accounts: Accounts
    leases: Leases
    pricing: Pricing
    prices: Prices
    observer: AdmissionObserver
    outage_denies: bool = False

    async def admit(
        self, who: Principal, request: ChatRequest, asker: Asker | None = None
    ) -> Admitted:
        """See `Admission`."""
        account, everyones = self.accounts.of(who), self.accounts.everyones(request, asker)
        if account is None:
            if not everyones:
                return Unlimited()
            account = NO_ACCOUNT
        charges = self._charges(account, request, RequestFacts(request, 0.0))
        charges += [(bucket, 1) for bucket in everyones]
        return await self._admitted(account, charges)

    async def readmit(
        self, who: Principal, request: ChatRequest, asker: Asker | None = None
    ) -> Admitted:
        """See `Readmission`."""
        account, everyones = self.accounts.of(who), self.accounts.everyones(request, asker)
        if account is None:
            if not everyones:
                return Unlimited()
            account = NO_ACCOUNT
        charges = [(bucket, 1) for bucket in (*account.requests, *account.slots, *everyones)]
        return await self._admitted(account, charges)

    async def _admitted(self, account: Account, charges: list[tuple[Bucket, int]]) -> Admitted:
        if not self.leases.taken(charges):
            try:
                await self.leases.acquire(charges)
            except ShortageError as shortage:
                limit = shortage.bucket.limit
                self.observer.refused(limit.kind, limit.quantity.value)
                raise refusal(shortage, account, self.leases.clock()) from None
            except StorageUnavailableError:
                charges = self._unchecked(charges)
        return Running(self.leases, account, self.pricing, charges)

    def _unchecked(self, charges: list[tuple[Bucket, int]]) -> list[tuple[Bucket, int]]:
        """What runs and what it costs is counted all the same; rates are let go."""
        self.observer.unchecked(allowed=not self.outage_denies)
        if self.outage_denies:
            raise StorageUnavailableError(
                "This key's limits cannot be checked now: the store is unavailable.",
                retry_after_s=1,
            )
        held = [(bucket, amount) for bucket, amount in charges if not bucket.limit.rate]
        self.leases.force(held)
        return held

    def _charges(
        self, account: Account, request: ChatRequest, facts: RequestFacts
    ) -> list[tuple[Bucket, int]]:
        charges = [(bucket, 1) for bucket in account.requests]
        charges += [(bucket, 1) for bucket in account.slots]
        if account.tokens:
            tokens = facts.prompt_tokens + facts.max_output_tokens
            # A request beyond the whole burst goes when all of it is there, else it never would;
            # what it uses beyond that is a debt.
            charges += [(b, min(tokens, b.limit.cap)) for b in account.tokens]
        if account.money:
            cost = self._worst(request, facts)
            charges += [(bucket, cost) for bucket in account.money]
        return charges

    def _worst(self, request: ChatRequest, facts: RequestFacts) -> int:
        prices = self.prices(request.model)
        if None in prices:
            unknown = self.pricing.unknown
            if unknown.denied:
                raise PermissionDeniedError(
                    f"The price of `{request.model[:256]}` is not known, and this key has a budget."
                    " Its operator sets a price in the file, or UNKNOWN_PRICE.",
                    param="model",
                )
            if unknown.price is None:
                self.observer.unpriced()
        return self.pricing.worst(facts.prompt_tokens, facts.max_output_tokens, prices)
