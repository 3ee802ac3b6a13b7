"""What a request is charged, and what comes back, on every way out."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from ailb_server.access.leases import Leases
from ailb_server.access.rate_limits import RateLimits
from ailb_server.domain.chat import ChatChunk, TokenUsage
from ailb_server.domain.errors import (
    BudgetExceededError,
    PermissionDeniedError,
    RateLimitExceededError,
    StorageUnavailableError,
    UpstreamUnavailableError,
)
from ailb_server.domain.principal import ANYONE, KeyLimits, Principal
from ailb_server.domain.rate_limit import KeptRateLimit, RateLimit, TargetKind
from ailb_server.domain.target import Price, Target
from ailb_server.pipeline.accounts import Accounts
from ailb_server.pipeline.admission import LimitedAdmission
from ailb_server.pipeline.rate_headers import duration
from ailb_server.pipeline.wishes import CallWishes
from ailb_server.spend.reservation import Pricing, UnknownPrice
from tests.support.limits import MemoryLimits
from tests.unit.doubles import FakeProvider, Observer, chat, chunk
from tests.unit.pipeline.chats import pipeline_over

NOVEMBER = 1_795_000_000.0
PRICE = Price(prompt=2_000_000, completion=10_000_000)
WHO = Principal(
    key_id=7,
    limits=KeyLimits(60, 100_000, 5, 10_000_000),
    tenant_limits=KeyLimits(monthly_budget_micro_dollars=20_000_000),
)
REQUEST = chat(stream=True, max_tokens=1000)
PROMPT = len(REQUEST.body) // 4


@dataclass
class Told:
    """An observer."""

    events: list[str] = field(default_factory=list)

    def refused(self, scope: str, quantity: str) -> None:
        self.events.append(f"refused {scope} {quantity}")

    def unchecked(self, *, allowed: bool) -> None:
        self.events.append(f"unchecked {allowed}")

    def unpriced(self) -> None:
        self.events.append("unpriced")

    def exchanged(self, seconds: float, limits: int) -> None:
        """Of no interest here."""

    def store_up(self, *, up: bool) -> None:
        """Of no interest here."""


@dataclass
class Desk:
    """An admission over a store in memory."""

    admission: LimitedAdmission
    leases: Leases
    store: MemoryLimits
    told: Told

    async def left(self) -> dict[str, int]:
        """Of each limit, once this instance holds nothing that is unused."""
        await self.leases.close()
        found = {}
        for name, row in self.store.rows.items():
            held = sum(lease.held for lease in row.leases.values())
            rate = row.level // 60_000_000 if row.rate else row.cap - row.spent
            found[name] = rate - held
        return found


@asynccontextmanager
async def desk(
    *,
    prices: Sequence[Price | None] = (PRICE,),
    pricing: Pricing | None = None,
    outage_denies: bool = False,
    wall: Callable[[], float] = lambda: NOVEMBER,
) -> AsyncIterator[Desk]:
    # Time stands still: nothing is refilled.
    told, store = Told(), MemoryLimits(lambda: NOVEMBER)
    leases = Leases(store, told, clock=lambda: 1000.0)
    leases.start()
    admission = LimitedAdmission(
        Accounts(leases, wall=wall),
        leases,
        pricing or Pricing(),
        lambda _: prices,
        told,
        outage_denies=outage_denies,
    )
    yield Desk(admission, leases, store, told)
    await leases.close()


LEFT = {
    "key:7:requests:0": 60,
    "key:7:tokens:0": 100_000,
    "key:7:slots:0": 5,
    "key:7:money:202611": 10_000_000,
    "tenant:1:money:202611": 20_000_000,
}


def less(tokens: int, cost: int, requests: int = 1) -> dict[str, int]:
    left = dict(LEFT)
    left["key:7:requests:0"] -= requests
    left["key:7:tokens:0"] -= tokens
    for name in ("key:7:money:202611", "tenant:1:money:202611"):
        left[name] -= cost
    return left


def target() -> Target:
    return Target("p", "m", price=PRICE)


async def test_what_is_given_again_counts_as_a_request_and_needs_no_budget() -> None:
    async with desk() as found:
        admitted = await found.admission.readmit(WHO, REQUEST)
        assert dict(admitted.headers)["x-ratelimit-remaining-requests"] == "59"
        admitted.settle(None, None)
        assert not (await found.admission.readmit(ANYONE, REQUEST)).headers
        left = await found.left()
        assert left == {name: LEFT[name] for name in left} | {"key:7:requests:0": 59}
    async with desk() as found:
        for _ in range(60):
            (await found.admission.readmit(WHO, REQUEST)).settle(None, None)
        with pytest.raises(RateLimitExceededError):
            await found.admission.readmit(WHO, REQUEST)


async def test_a_routes_limit_is_for_what_the_route_takes() -> None:
    async with desk() as found:
        accounts = found.admission.accounts
        limit = RateLimit("slow", "route:canary", per_minute=1)
        accounts.book.current = RateLimits.of([KeptRateLimit(1, TargetKind.ROUTE, limit)])
        accounts.route_of = lambda _, asker: None if asker is None else "canary"
        taken = CallWishes(who=ANYONE)
        for _ in range(3):
            await found.admission.admit(ANYONE, REQUEST)
        await found.admission.admit(ANYONE, REQUEST, taken)
        with pytest.raises(RateLimitExceededError, match="canary"):
            await found.admission.admit(ANYONE, REQUEST, taken)
        with pytest.raises(RateLimitExceededError, match="canary"):
            await found.admission.readmit(ANYONE, REQUEST, taken)


async def test_the_worst_is_charged_before_and_the_truth_after() -> None:
    async with desk() as found:
        one = await found.admission.admit(WHO, REQUEST)
        tokens = PROMPT + 1000
        assert dict(one.headers)["x-ratelimit-remaining-tokens"] == str(100_000 - tokens)
        row = found.store.rows["key:7:money:202611"]
        (lease,) = row.leases.values()
        assert lease.held - lease.spare == PROMPT * 2 + 1000 * 10
        one.settle(target(), TokenUsage(prompt=50, completion=20, cached=10))
        assert await found.left() == less(70, 300)


async def test_a_failure_costs_nothing_but_the_request() -> None:
    async with desk() as found:
        one = await found.admission.admit(WHO, REQUEST)
        one.settle(None, None)
        assert await found.left() == less(0, 0)


async def test_settling_twice_settles_once() -> None:
    async with desk() as found:
        one = await found.admission.admit(WHO, REQUEST)
        one.settle(None, None)
        one.settle(target(), TokenUsage(5, 5))
        assert await found.left() == less(0, 0)


class _Run:
    """Chats through the whole pipeline."""

    def __init__(self, found: Desk, *says: ChatChunk | Exception | None) -> None:
        self.provider = FakeProvider(says=says)
        pipeline = pipeline_over(Observer(), self.provider)
        self.pipeline = replace(pipeline, admission=found.admission)

    async def chat(self) -> list[ChatChunk]:
        async with self.pipeline.open(REQUEST, CallWishes(who=WHO)) as answer:
            assert dict(answer.limits)["x-ratelimit-limit-requests"] == "60"
            return [said async for said in answer.chunks]


@pytest.mark.parametrize(
    ("says", "tokens"),
    [
        ([chunk("1"), chunk("2", TokenUsage(30, 4))], 34),
        ([chunk("1"), chunk("2"), UpstreamUnavailableError("broke off")], PROMPT + 2),
        ([UpstreamUnavailableError("no answer")], 0),
        ([RuntimeError("a fault of ours")], 0),
    ],
    ids=["an answer", "broken off", "none", "a fault"],
)
async def test_every_way_out_settles(says: Sequence[ChatChunk | Exception], tokens: int) -> None:
    async with desk() as found:
        run = _Run(found, *says)
        for _ in range(8):
            await asyncio.gather(run.chat(), return_exceptions=True)
        left = await found.left()
    assert left["key:7:slots:0"] == 5
    assert left["key:7:requests:0"] == 60 - 8
    assert left["key:7:tokens:0"] == 100_000 - 8 * tokens


async def test_a_cancelled_chat_frees_its_place() -> None:
    async with desk() as found:
        run = _Run(found, chunk("1"), None)
        running = [asyncio.create_task(run.chat()) for _ in range(5)]
        await run.provider.waiting.wait()
        await asyncio.sleep(0.05)
        with pytest.raises(RateLimitExceededError) as refused:
            await found.admission.admit(WHO, REQUEST)
        assert refused.value.facts["limit"] == "key_slots"
        assert refused.value.retry_after_s == 1
        for task in running:
            task.cancel()
        await asyncio.wait(running)
        left = await found.left()
    assert left["key:7:slots:0"] == 5
    assert left["key:7:tokens:0"] == 100_000 - 5 * (PROMPT + 1)


async def test_refusals_say_what_and_when() -> None:
    who = replace(WHO, limits=KeyLimits(requests_per_minute=2), tenant_limits=KeyLimits())
    async with desk() as found:
        for _ in range(2):
            await found.admission.admit(who, REQUEST)
        with pytest.raises(RateLimitExceededError, match="2 requests a minute") as refused:
            await found.admission.admit(who, REQUEST)
        assert refused.value.retry_after_s == 30
        told = dict(refused.value.headers)
        assert told["x-ratelimit-remaining-requests"] == "0"
        assert told["x-ratelimit-reset-requests"].startswith("1m0s")
        assert found.told.events == ["refused key requests"]


async def test_a_request_larger_than_the_whole_limit_goes_alone() -> None:
    who = Principal(key_id=7, limits=KeyLimits(tokens_per_minute=100))
    async with desk() as found:
        one = await found.admission.admit(who, REQUEST)
        with pytest.raises(RateLimitExceededError):
            await found.admission.admit(who, REQUEST)
        one.settle(target(), TokenUsage(150, 50))
        # What it used beyond the limit is a debt.
        assert (await found.left())["key:7:tokens:0"] in {-100, -99}


async def test_a_budget_refuses_what_may_cost_more_than_is_left() -> None:
    who = Principal(key_id=7, limits=KeyLimits(monthly_budget_micro_dollars=100))
    async with desk() as found:
        with pytest.raises(BudgetExceededError, match=r"may cost \$0\.0100") as refused:
            await found.admission.admit(who, REQUEST)
        assert refused.value.retry_after_s is None
        assert refused.value.facts == {"limit": "key_budget"}
        await found.admission.admit(who, chat(max_tokens=1))


async def test_the_dearest_of_the_targets_counts() -> None:
    who = Principal(key_id=7, limits=KeyLimits(monthly_budget_micro_dollars=10**9))
    async with desk(prices=(PRICE, Price(0, 40_000_000))) as found:
        await found.admission.admit(who, REQUEST)
        (lease,) = found.store.rows["key:7:money:202611"].leases.values()
        assert lease.held - lease.spare == 40_000


async def test_a_price_that_is_not_known() -> None:
    who = Principal(key_id=7, limits=KeyLimits(monthly_budget_micro_dollars=0))
    async with desk(prices=(None,)) as found:
        await found.admission.admit(who, REQUEST)
        assert found.told.events == ["unpriced"]
    async with desk(prices=(PRICE, None), pricing=Pricing(UnknownPrice(denied=True))) as found:
        with pytest.raises(PermissionDeniedError, match="UNKNOWN_PRICE"):
            await found.admission.admit(who, REQUEST)
        await found.admission.admit(replace(who, limits=KeyLimits(5)), REQUEST)
    fixed = Pricing(UnknownPrice(price=Price(5_000_000, 5_000_000)))
    async with desk(prices=(None,), pricing=fixed) as found:
        with pytest.raises(BudgetExceededError):
            await found.admission.admit(who, REQUEST)
    assert fixed.cost(TokenUsage(10, 10), None) == 100


async def test_a_new_month_is_a_new_budget() -> None:
    wall = [NOVEMBER]
    who = Principal(key_id=7, limits=KeyLimits(monthly_budget_micro_dollars=10_200))
    async with desk(wall=lambda: wall[0]) as found:
        late = await found.admission.admit(who, REQUEST)
        wall[0] += 30 * 86_400
        await found.admission.admit(who, REQUEST)
        late.settle(target(), TokenUsage(0, 100))
        await found.leases.close()
        spent = {name: row.spent for name, row in found.store.rows.items()}
    assert spent == {"key:7:money:202611": 1000, "key:7:money:202612": 0}


@pytest.mark.parametrize("denies", [False, True])
async def test_a_store_that_is_away(denies: bool) -> None:  # noqa: FBT001
    async with desk(outage_denies=denies) as found:
        found.store.away = True
        for _ in range(8):
            if denies:
                with pytest.raises(StorageUnavailableError):
                    await found.admission.admit(WHO, REQUEST)
            else:
                one = await found.admission.admit(WHO, REQUEST)
                one.settle(target(), TokenUsage(0, 10))
        assert set(found.told.events) == {f"unchecked {not denies}"}
        found.store.away = False
        # Costs are told once the store is back; rates begin anew.
        assert await found.left() == ({} if denies else less(0, 800, requests=0)) or denies


async def test_who_has_no_key_has_no_limit() -> None:
    async with desk() as found:
        one = await found.admission.admit(ANYONE, REQUEST)
        assert one.headers == ()
        assert found.store.statements == 0


async def test_what_is_leased_needs_no_statement() -> None:
    who = replace(WHO, limits=KeyLimits(600_000, 10**9, 1000, 10**12))
    async with desk() as found:
        for _ in range(500):
            one = await found.admission.admit(who, REQUEST)
            one.settle(target(), TokenUsage(10, 10))
        assert found.store.statements < 20


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.012, "12ms"), (1, "1s"), (8.64, "8.64s"), (360, "6m0s"), (3723.5, "1h2m3.5s")],
)
def test_durations_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
