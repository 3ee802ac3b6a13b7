"""Budgets, rates and slots on one and on several instances, on a real Postgres."""

import asyncio
from collections.abc import Sequence

import pytest

from ailb_server.domain.admission import Admitted
from ailb_server.domain.chat import ChatChunk, TokenUsage
from ailb_server.domain.errors import AilbError, BudgetExceededError, RateLimitExceededError
from ailb_server.domain.target import Target
from tests.integration.limits.conftest import (
    DOLLAR,
    PRICE,
    Instance,
    answer_of,
    caller,
    instance,
    instances,
)
from tests.support.postgres import eventually, sql

TARGET = Target("p", "m", price=PRICE)


def parted(results: Sequence[object]) -> tuple[list[Admitted], list[AilbError]]:
    errors = [result for result in results if isinstance(result, AilbError)]
    return [r for r in results if not isinstance(r, AilbError)], errors  # type: ignore[misc]


def settle(admitted: Admitted, tokens: int) -> None:
    admitted.saw(ChatChunk((), b"", TokenUsage(completion=tokens)))
    admitted.ended()
    assert admitted.settle(TARGET).cost_micro_dollars == tokens * DOLLAR


@pytest.mark.parametrize("count", [1, 4])
async def test_a_budget_for_100_admits_100_of_1000_at_once(migrated_dsn: str, count: int) -> None:
    who = caller(monthly_budget_micro_dollars=1000 * DOLLAR)
    async with instances(migrated_dsn, count) as found:
        for round_ in range(2):
            tries = [found[n % count].try_in(who, answer_of(10)) for n in range(1000)]
            admitted, refused = parted(await asyncio.gather(*tries))
            assert len(admitted) == 100, round_
            assert {type(error) for error in refused} == {BudgetExceededError}
            assert all("reserved by requests that run" in str(error) for error in refused)
            # All of it comes back: nothing was said.
            for one in admitted:
                one.settle(None)
        assert sum(one.seen.statements for one in found) < 1000
        tries = [found[n % count].try_in(who, answer_of(10)) for n in range(1000)]
        admitted, refused = parted(await asyncio.gather(*tries))
        assert len(admitted) == 100
        for one in admitted:
            settle(one, 4)
        # 600 dollars are left for 60 more.
        tries = [found[n % count].try_in(who, answer_of(10)) for n in range(200)]
        admitted, refused = parted(await asyncio.gather(*tries))
        assert len(admitted) == 60
        for one in admitted:
            settle(one, 10)
        last = await found[0].try_in(who, answer_of(1))
        assert isinstance(last, BudgetExceededError)
        assert "$1,000.000000 of $1,000.000000 are spent" in str(last)
    spent = sql(migrated_dsn, "SELECT spent_usd, reserved_usd, remains_usd FROM budget_usage")
    assert spent == "1000.000000|0.000000|0.000000"


async def test_what_another_instance_does_not_use_is_not_refused(migrated_dsn: str) -> None:
    who = caller(monthly_budget_micro_dollars=100 * DOLLAR, max_concurrent=1)
    async with instances(migrated_dsn, 4) as found:
        for n in range(40):
            one = await found[n % 4].try_in(who, answer_of(100))
            assert not isinstance(one, AilbError), n
            one.settle(None)


async def test_slots_are_those_of_all_instances(migrated_dsn: str) -> None:
    who = caller(max_concurrent=5)
    async with instances(migrated_dsn, 3) as found:
        tries = [found[n % 3].try_in(who, answer_of(1)) for n in range(60)]
        admitted, refused = parted(await asyncio.gather(*tries))
        assert len(admitted) == 5
        assert {type(error) for error in refused} == {RateLimitExceededError}
        assert {error.facts["limit"] for error in refused} == {"key_slots"}
        for one in admitted:
            one.settle(TARGET)
        again = [await found[n % 3].try_in(who, answer_of(1)) for n in range(5)]
        assert len(parted(again)[0]) == 5


async def test_a_key_and_its_tenant_hold_both(migrated_dsn: str) -> None:
    from dataclasses import replace

    from ailb_server.domain.principal import KeyLimits

    def of(key: int) -> object:
        return replace(caller(key, requests_per_minute=6), tenant_limits=KeyLimits(10))

    one_key, other_key = of(1), of(2)
    async with instance(migrated_dsn) as found:
        first = [await found.try_in(one_key, answer_of(1)) for _ in range(8)]  # type: ignore[arg-type]
        second = [await found.try_in(other_key, answer_of(1)) for _ in range(8)]  # type: ignore[arg-type]
    assert len(parted(first)[0]) == 6
    assert len(parted(second)[0]) == 4
    assert {error.facts["limit"] for error in parted(first)[1]} == {"key_requests"}
    assert {error.facts["limit"] for error in parted(second)[1]} == {"tenant_requests"}


async def test_headers_tell_the_truth(migrated_dsn: str) -> None:
    who = caller(requests_per_minute=60, tokens_per_minute=6000)
    async with instance(migrated_dsn) as found:
        told = []
        for _ in range(3):
            one = await found.try_in(who, answer_of(100))
            assert not isinstance(one, AilbError)
            told.append(dict(one.headers))
            one.saw(ChatChunk((), b"", TokenUsage(prompt=10, completion=5)))
            one.ended()
            one.settle(TARGET)
        assert [t["x-ratelimit-remaining-requests"] for t in told] == ["59", "58", "57"]
        assert {t["x-ratelimit-limit-requests"] for t in told} == {"60"}
        assert {t["x-ratelimit-limit-tokens"] for t in told} == {"6000"}
        # 100 and the prompt's estimate were charged for the third, 15 each for the two before it.
        remaining = int(told[2]["x-ratelimit-remaining-tokens"])
        assert 6000 - 30 - 130 <= remaining <= 6000 - 30 - 100
        assert told[2]["x-ratelimit-reset-requests"][:2] in {"2s", "3s", "2."}


async def minute(found: Sequence[Instance], now: list[float], tries_a_second: int) -> int:
    """A minute of even load, simulated in steps of 10 ms."""
    who, admitted, offered = caller(requests_per_minute=600), 0, 0.0
    while now[0] < 60:
        now[0] += 0.01
        offered += tries_a_second * 0.01
        for one in found:
            one.leases.look()
        batch = int(offered)
        offered -= batch
        tries = [found[n % len(found)].try_in(who, answer_of(1)) for n in range(batch)]
        admitted += len(parted(await asyncio.gather(*tries))[0])
    return admitted


@pytest.mark.parametrize("tries_a_second", [30, 200])
async def test_a_minute_on_four_instances(migrated_dsn: str, tries_a_second: int) -> None:
    now = [0.0]
    async with contextlib_stack() as stack:
        found = [
            await stack.enter_async_context(
                instance(
                    migrated_dsn,
                    clock=lambda: now[0],
                    time_of_store=lambda: 4_000_000_000 + now[0],
                )
            )
            for _ in range(4)
        ]
        admitted = await minute(found, now, tries_a_second)
        statements = sum(one.seen.statements for one in found)
    assert 0.97 * 1200 <= admitted <= 1200, (admitted, statements)


def contextlib_stack():  # type: ignore[no-untyped-def]
    import contextlib

    return contextlib.AsyncExitStack()


async def test_a_dead_instance_holds_nothing_for_long(migrated_dsn: str) -> None:
    from ailb_server.access.bucket import LeaseRules

    who = caller(monthly_budget_micro_dollars=100 * DOLLAR)
    rules = LeaseRules(ttl_s=1.0, margin_s=0.2, renew_s=0.3)
    async with instance(migrated_dsn, rules=rules) as other:
        async with instance(migrated_dsn, rules=rules) as dead:
            assert not isinstance(await dead.try_in(who, answer_of(60)), AilbError)
            assert isinstance(await other.try_in(who, answer_of(60)), BudgetExceededError)
            # As kill -9 would: nothing is told any more.
            dead.leases._held.clear()
            assert dead.leases._task is not None
            dead.leases._task.cancel()
            for _ in range(100):
                one = await other.try_in(who, answer_of(60))
                if not isinstance(one, AilbError):
                    break
                await asyncio.sleep(0.05)
            assert not isinstance(one, AilbError)
            one.settle(None)
    eventually(
        lambda: sql(migrated_dsn, "SELECT remains_usd FROM budget_usage") == "100.000000",
        "the reservation expires",
    )
