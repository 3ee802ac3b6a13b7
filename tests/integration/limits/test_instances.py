"""Budgets, rates and slots on one and on several instances, on a real Postgres."""

import asyncio
import itertools
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from ailb_server.access.bucket import LeaseRules
from ailb_server.domain.admission import Admitted
from ailb_server.domain.chat import TokenUsage
from ailb_server.domain.errors import AilbError, BudgetExceededError, RateLimitExceededError
from ailb_server.domain.principal import KeyLimits, Principal
from tests.integration.limits.conftest import (
    DOLLAR,
    TARGET,
    Instance,
    answer_of,
    caller,
    instance,
    instances,
    parted,
    settle,
)
from tests.support.postgres import sql

START = 4_000_000_000.0


async def rush(
    found: Sequence[Instance], who: Principal, requests: int, tokens: int = 10
) -> tuple[list[Admitted], list[AilbError]]:
    """All at once, in turns on the instances."""
    turns = itertools.islice(itertools.cycle(found), requests)
    tries = [one.try_in(who, answer_of(tokens)) for one in turns]
    results = parted(await asyncio.gather(*tries))
    assert not any(one.seen.let_in for one in found), "the store was there"
    return results


@pytest.mark.parametrize("count", [1, 4])
async def test_a_budget_for_100_admits_100_of_1000_at_once(migrated_dsn: str, count: int) -> None:
    who = caller(monthly_budget_micro_dollars=1000 * DOLLAR)
    async with instances(migrated_dsn, count) as found:
        for _ in range(2):
            admitted, refused = await rush(found, who, 1000)
            assert len(admitted) == 100
            assert {type(error) for error in refused} == {BudgetExceededError}
            assert all("reserved by requests that run" in str(error) for error in refused)
            # All of it comes back: nothing was said.
            for one in admitted:
                one.settle(None, None)
        assert sum(one.seen.statements for one in found) < 1000
        admitted, refused = await rush(found, who, 1000)
        assert len(admitted) == 100
        for one in admitted:
            settle(one, 4)
        # 600 dollars are left, for 60 more.
        admitted, refused = await rush(found, who, 200)
        assert len(admitted) == 60
        for one in admitted:
            settle(one, 10)
        (last,) = (await rush(found, who, 1, tokens=1))[1]
        assert "$1,000.000000 of $1,000.000000 are spent" in str(last)
        assert last.retry_after_s is None
    spent = sql(migrated_dsn, "SELECT spent_usd, reserved_usd, remains_usd FROM budget_usage")
    assert spent == "1000.000000|0.000000|0.000000"


async def test_what_another_instance_does_not_use_is_not_refused(migrated_dsn: str) -> None:
    who = caller(monthly_budget_micro_dollars=100 * DOLLAR, max_concurrent=1)
    async with instances(migrated_dsn, 4) as found:
        for one in itertools.islice(itertools.cycle(found), 40):
            admitted, refused = await rush([one], who, 1, tokens=100)
            assert refused == []
            admitted[0].settle(None, None)


async def test_slots_are_those_of_all_instances(migrated_dsn: str) -> None:
    who = caller(max_concurrent=5)
    async with instances(migrated_dsn, 3) as found:
        admitted, refused = await rush(found, who, 60)
        assert len(admitted) == 5
        assert {type(error) for error in refused} == {RateLimitExceededError}
        assert {error.facts["limit"] for error in refused} == {"key_slots"}
        for one in admitted:
            one.settle(TARGET, TokenUsage(prompt=10, completion=5))
        again = [await rush([found[n % 3]], who, 1) for n in range(6)]
        assert [len(admitted) for admitted, _ in again] == [1, 1, 1, 1, 1, 0]


async def test_keys_share_their_tenants_limits(migrated_dsn: str) -> None:
    one, other = (
        replace(caller(key, requests_per_minute=6), tenant_limits=KeyLimits(10)) for key in (1, 2)
    )
    async with instance(migrated_dsn) as found:
        first, second = await rush([found], one, 8), await rush([found], other, 8)
    assert (len(first[0]), len(second[0])) == (6, 4)
    assert {error.facts["limit"] for error in first[1]} == {"key_requests"}
    assert {error.facts["limit"] for error in second[1]} == {"tenant_requests"}
    assert sorted(set(found.seen.refusals)) == ["key requests", "tenant requests"]


async def test_headers_tell_the_truth(migrated_dsn: str) -> None:
    who = caller(requests_per_minute=60, tokens_per_minute=6000)
    now = [0.0]
    async with instance(migrated_dsn, clock=lambda: now[0], wall=lambda: START + now[0]) as found:
        told = []
        for _ in range(3):
            ((one,), _) = await rush([found], who, 1, tokens=100)
            told.append(dict(one.headers))
            one.settle(TARGET, TokenUsage(prompt=10, completion=5))
        assert [t["x-ratelimit-remaining-requests"] for t in told] == ["59", "58", "57"]
        assert [t["x-ratelimit-reset-requests"] for t in told] == ["1s", "2s", "3s"]
        assert {t["x-ratelimit-limit-requests"] for t in told} == {"60"}
        assert {t["x-ratelimit-limit-tokens"] for t in told} == {"6000"}
        # The third was charged by its estimate, each of those before it by its usage.
        charged = 100 + len(answer_of(100).body) // 4
        assert told[2]["x-ratelimit-remaining-tokens"] == str(6000 - 30 - charged)
        now[0] += 1.5
        ((one,), _) = await rush([found], who, 1, tokens=100)
        remaining = int(dict(one.headers)["x-ratelimit-remaining-requests"])
        # What was used and not yet told had no room to come back.
        assert remaining in {56, 57}
        admitted, refused = await rush([found], who, 100, tokens=1)
        assert len(admitted) == remaining
        assert all(isinstance(error, RateLimitExceededError) for error in refused)
        assert all(0 < (error.retry_after_s or 0) <= 1 for error in refused)


@pytest.mark.parametrize("tries_a_second", [30, 200])
async def test_a_minute_on_four_instances(migrated_dsn: str, tries_a_second: int) -> None:
    """600 a minute and a burst of as many; even load, in simulated steps of 10 ms."""
    who, now, admitted, offered = caller(requests_per_minute=600), [0.0], 0, 0.0
    async with AsyncExitStack() as stack:
        opening = [
            instance(migrated_dsn, clock=lambda: now[0], wall=lambda: START + now[0])
            for _ in range(4)
        ]
        found = [await stack.enter_async_context(one) for one in opening]
        while now[0] < 60:
            now[0] += 0.01
            offered += tries_a_second * 0.01
            for one in found:
                one.leases.look()
            admitted += len((await rush(found, who, int(offered)))[0])
            offered -= int(offered)
        statements = sum(one.seen.statements for one in found)
    assert 0.97 * 1200 <= admitted <= 1200
    # Refusals cost no statement each.
    assert statements < 2000


async def test_a_dead_instance_holds_nothing_for_long(migrated_dsn: str) -> None:
    who = caller(monthly_budget_micro_dollars=100 * DOLLAR)
    rules = LeaseRules(ttl_s=1.0, margin_s=0.2, renew_s=0.3)
    async with instance(migrated_dsn, rules=rules) as other:
        async with instance(migrated_dsn, rules=rules) as dead:
            assert len((await rush([dead], who, 1, tokens=60))[0]) == 1
            assert len((await rush([other], who, 1, tokens=60))[1]) == 1
            # As after kill -9: it tells nothing any more.
            dead.stop()
            admitted: list[Admitted] = []
            async with asyncio.timeout(10):
                while not admitted:
                    admitted, _ = await rush([other], who, 1, tokens=60)
        settle(admitted[0], 60)
    assert sql(migrated_dsn, "SELECT remains_usd FROM budget_usage") == "40.000000"
