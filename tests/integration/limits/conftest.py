"""Instances in one process that share limits through a real Postgres."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from ailb_server.access.bucket import LeaseRules
from ailb_server.access.leases import EngineRules, Leases
from ailb_server.access.limit_administration import LimitAdministration
from ailb_server.access.rate_limit_watch import RateLimitWatch
from ailb_server.access.rate_limits import RateLimitBook
from ailb_server.domain.admission import Admitted
from ailb_server.domain.chat import ChatRequest, TokenUsage
from ailb_server.domain.errors import AilbError
from ailb_server.domain.principal import KeyLimits, Principal
from ailb_server.domain.route import Asker
from ailb_server.domain.target import Price, Target
from ailb_server.pipeline.accounts import Accounts
from ailb_server.pipeline.admission import LimitedAdmission
from ailb_server.spend.reservation import Pricing
from ailb_server.storage.limits import CHANNEL, PostgresLimits
from ailb_server.storage.notifications import Notifications
from ailb_server.storage.pool import Store
from ailb_server.storage.rate_limits import CHANNEL as RATE_LIMITS
from ailb_server.storage.rate_limits import PostgresRateLimits
from tests.unit.doubles import chat

# A dollar for each token of an answer, nothing for a prompt.
PRICE = Price(completion=1_000_000_000_000)
TARGET = Target("p", "m", price=PRICE)
DOLLAR = 1_000_000
ROUTES = {"m": "chats"}


def _route_of(request: ChatRequest, asker: Asker | None) -> str | None:
    del asker
    return ROUTES.get(request.model)


@dataclass
class Seen:
    """An observer of leases and admissions."""

    refusals: list[str] = field(default_factory=list)
    statements: int = 0
    let_in: int = 0
    up: bool = True

    def exchanged(self, seconds: float, limits: int) -> None:
        assert seconds >= 0
        assert limits > 0
        self.statements += 1

    def store_up(self, *, up: bool) -> None:
        self.up = up

    def refused(self, scope: str, quantity: str) -> None:
        self.refusals.append(f"{scope} {quantity}")

    def unchecked(self, *, allowed: bool) -> None:
        self.let_in += allowed

    def unpriced(self) -> None:
        raise AssertionError("every model has a price here")


@dataclass
class Instance:
    """One instance's admission; `stop` ends it without a word to anybody."""

    admission: LimitedAdmission
    leases: Leases
    seen: Seen
    store: Store
    listening: "asyncio.Task[None]"
    watch: RateLimitWatch
    administration: LimitAdministration

    def stop(self) -> None:
        self.listening.cancel()
        self.store.pool.terminate()

    async def try_in(self, who: Principal, request: ChatRequest) -> Admitted | AilbError:
        try:
            return await self.admission.admit(who, request)
        except AilbError as error:
            return error


def caller(key: int = 7, **limits: int) -> Principal:
    return Principal(key_id=key, name="test", limits=KeyLimits(**limits))


def answer_of(tokens: int) -> ChatRequest:
    return chat(max_tokens=tokens)


def parted(
    results: Sequence[Admitted | AilbError],
) -> tuple[list[Admitted], list[AilbError]]:
    errors = [result for result in results if isinstance(result, AilbError)]
    return [result for result in results if not isinstance(result, AilbError)], errors


def settle(admitted: Admitted, tokens: int) -> None:
    """So many tokens were said, at a dollar each."""
    admitted.settle(TARGET, TokenUsage(completion=tokens))


@contextlib.asynccontextmanager
async def instance(
    dsn: str,
    *,
    rules: LeaseRules | None = None,
    deny: bool = False,
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] | None = None,
    poll_s: float = 60.0,
) -> AsyncIterator[Instance]:
    """With a pool and a listener of its own. Times that are given are those of a simulation."""
    store = Store(dsn, size=2)
    await store.open()
    rules, seen = rules or LeaseRules(), Seen()
    shared = PostgresLimits(store, "test", rules.ttl_s, wall)
    leases = Leases(shared, seen, rules, EngineRules(), clock)
    leases.start()
    listening = asyncio.Event()
    kept = PostgresRateLimits(store, "test")
    watch = RateLimitWatch(kept, RateLimitBook(), poll_s)
    await watch.start()
    heard = {CHANNEL: leases.recalled, RATE_LIMITS: watch.heard}
    listener = Notifications(dsn, heard, listening.set, ping_s=0.2)
    task = asyncio.create_task(listener.run())
    await asyncio.wait_for(listening.wait(), 10)
    accounts = Accounts(leases, book=watch.book, route_of=_route_of)
    admission = LimitedAdmission(
        accounts, leases, Pricing(), lambda _: [PRICE], seen, outage_denies=deny
    )
    administration = LimitAdministration(kept, lambda: ["openai"])
    try:
        yield Instance(admission, leases, seen, store, task, watch, administration)
    finally:
        task.cancel()
        await asyncio.wait((task,))
        await watch.close()
        await leases.close()
        await store.close()


@contextlib.asynccontextmanager
async def instances(
    dsn: str, count: int, rules: LeaseRules | None = None
) -> AsyncIterator[Sequence[Instance]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(instance(dsn, rules=rules)) for _ in range(count)]
