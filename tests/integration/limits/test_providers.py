"""What a provider allows, shared by several instances on a real Postgres."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest

from ailb_server.domain.audit import Actor
from ailb_server.domain.rate_limit import RateLimit
from ailb_server.pipeline.provider_limits import SharedProviders
from ailb_server.routing.limits import Entry, Gate, ProviderLimits
from ailb_server.storage.provider_numbers import PostgresProviderNumbers
from tests.integration.limits.conftest import Instance, instance, instances

START = 4_000_000_000.0


async def gate(found: Instance, limits: ProviderLimits, *, denies: bool = False) -> Gate:
    numbers = await PostgresProviderNumbers(found.store).numbers(["openai", "other"])
    shared = SharedProviders(found.leases, found.watch.book, numbers)
    return Gate(limits, shared.of("openai", limits), denies=denies)


async def entered(one: Gate, now: float, tokens: int) -> Entry | None:
    """As an attempt does."""
    await one.supplied(tokens)
    return None if one.wait_s(now, tokens) > 0 else one.enter(now, tokens)


async def rush(gates: Sequence[Gate], now: float, count: int, tokens: int) -> list[Entry]:
    tries = (entered(gates[n % len(gates)], now, tokens) for n in range(count))
    return [one for one in await asyncio.gather(*tries) if one is not None]


async def test_requests_and_tokens_are_those_of_all_instances(migrated_dsn: str) -> None:
    now = [0.0]
    async with AsyncExitStack() as stack:
        found = [
            await stack.enter_async_context(
                instance(migrated_dsn, clock=lambda: now[0], wall=lambda: START + now[0])
            )
            for _ in range(4)
        ]
        limits = ProviderLimits(requests_per_minute=60, tokens_per_minute=10_000)
        gates = [await gate(one, limits) for one in found]
        assert len(await rush(gates, now[0], 200, 10)) == 60
        assert await rush(gates, now[0], 8, 10) == []
        waits = [one.wait_s(now[0], 10) for one in gates]
        assert all(0 < wait <= 1 for wait in waits), waits
        for _ in range(120):
            now[0] += 0.5
            for one in found:
                one.leases.look()
            await asyncio.sleep(0)
        admitted = 0
        # A minute later, by tokens: what was expected is corrected by what was used.
        for _ in range(60):
            now[0] += 0.01
            some = await rush(gates, now[0], 4, 1000)
            admitted += len(some)
            for place, entry in enumerate(some):
                gates[place].correct(entry, now[0], 500)
        assert 17 <= admitted <= 20


async def test_what_was_never_sent_is_given_back_to_all(migrated_dsn: str) -> None:
    limits = ProviderLimits(requests_per_minute=1, tokens_per_minute=1)
    async with instances(migrated_dsn, 2) as found:
        one, other = [await gate(x, limits) for x in found]
        entry = await entered(one, 0.0, 1)
        assert entry is not None
        assert await entered(other, 0.0, 1) is None
        one.refund(entry, 0.0)
        async with asyncio.timeout(10):
            while await entered(other, 0.0, 1) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_a_limit_set_at_run_time_holds_for_a_provider_without_any(migrated_dsn: str) -> None:
    async with instances(migrated_dsn, 2) as found:
        gates = [await gate(one, ProviderLimits()) for one in found]
        assert not any(one.limited for one in gates)
        assert len(await rush(gates, 0.0, 50, 10)) == 50
        wanted = RateLimit("x", "provider:openai", per_hour=20)
        await found[0].administration.set(wanted, Actor("test"))
        for one in found:
            await one.watch.read()
        assert all(one.limited for one in gates)
        assert len(await rush(gates, 0.0, 100, 10)) == 20


@pytest.mark.parametrize("denies", [False, True])
async def test_without_the_store_each_instance_has_its_share(
    migrated_dsn: str,
    denies: bool,  # noqa: FBT001
) -> None:
    now = [0.0]
    limits = ProviderLimits(requests_per_minute=40)
    async with AsyncExitStack() as stack:
        found = [
            await stack.enter_async_context(
                instance(migrated_dsn, clock=lambda: now[0], wall=lambda: START + now[0])
            )
            for _ in range(4)
        ]
        gates = [await gate(one, limits, denies=denies) for one in found]
        for one in (*gates, *gates):
            assert await entered(one, now[0], 1) is not None
        for each in found:
            each.store.pool.terminate()
        now[0] += 100.0
        admitted = [len(await rush([one], now[0], 50, 1)) for one in gates]
        assert all(n == 0 if denies else 8 <= n <= 14 for n in admitted), admitted
        assert denies or sum(admitted) <= 44
