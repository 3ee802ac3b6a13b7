"""Rate limits set at run time, on several instances and a real Postgres."""

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from ailb_server.domain.audit import Actor
from ailb_server.domain.errors import (
    AilbError,
    InvalidRequestError,
    NotFoundError,
    RateLimitExceededError,
)
from ailb_server.domain.principal import ANYONE, Principal
from ailb_server.domain.rate_limit import RateLimit, TargetKind
from tests.integration.limits.conftest import (
    Instance,
    answer_of,
    caller,
    instance,
    instances,
    parted,
)
from tests.support.postgres import sql

BY = Actor("operator", 7, "192.0.2.1", "req-1")


def limit(
    target: str,
    limit_id: str = "one",
    *,
    per_second: int = 0,
    per_minute: int = 0,
    per_hour: int = 0,
    burst: int = 0,
) -> RateLimit:
    return RateLimit(limit_id, target, per_second, per_minute, per_hour, burst)


async def rush(
    found: Sequence[Instance], who: Principal, requests: int, model: str = "m"
) -> tuple[int, list[AilbError]]:
    turns = itertools.islice(itertools.cycle(found), requests)
    request = replace(answer_of(1), model=model)
    tries = await asyncio.gather(*(one.try_in(who, request) for one in turns))
    admitted, refused = parted(tries)
    for one in admitted:
        one.settle(None, None)
    return len(admitted), refused


async def known(found: Sequence[Instance], is_so: Callable[[Instance], bool]) -> float:
    """Until every instance knows it; the seconds that took."""
    begun = time.monotonic()
    async with asyncio.timeout(10):
        while not all(is_so(one) for one in found):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return time.monotonic() - begun


_ROUTE = """
INSERT INTO model_routes
  (route_id, protocol, path_pattern, model_pattern, headers, priority, metadata, versions, weights,
   stable, previous)
VALUES ('chats', '', '', 'm', '{}', 0, '{}', '[{"name": "v", "targets": ["p/m"]}]', '{"v": 100}',
   'v', '')
"""


async def test_a_limit_that_nothing_would_ever_meet_is_refused(migrated_dsn: str) -> None:
    async with instance(migrated_dsn) as one:
        for target in ("route:/v1/chat/completions", "key:nobody", "tenant:nowhere"):
            with pytest.raises(NotFoundError):
                await one.administration.set(limit(target, per_minute=1), BY)
        assert await one.administration.list() == []


def in_force(kind: TargetKind, whom: int | str = "") -> Callable[[Instance], bool]:
    return lambda one: bool(one.watch.book.current.find(kind, whom))


@pytest.mark.parametrize(
    ("target", "kind", "whom", "fact"),
    [
        ("global", TargetKind.GLOBAL, "", "global_requests"),
        ("model:m", TargetKind.MODEL, "m", "model_requests"),
        ("route:chats", TargetKind.ROUTE, "chats", "route_requests"),
        ("tenant:default", TargetKind.TENANT, 1, "tenant_requests"),
    ],
)
async def test_all_instances_together_keep_a_limit(
    migrated_dsn: str, target: str, kind: TargetKind, whom: int | str, fact: str
) -> None:
    sql(migrated_dsn, _ROUTE)
    async with instances(migrated_dsn, 4) as found:
        assert (await rush(found, ANYONE, 20))[0] == 20
        await found[0].administration.set(limit(target, per_hour=3600, burst=10), BY)
        assert await known(found, in_force(kind, whom)) < 1
        admitted, refused = await rush(found, ANYONE, 200)
        assert 10 <= admitted <= 11
        assert {error.facts["limit"] for error in refused} == {fact}
        assert all(0 < (error.retry_after_s or 0) <= 1.01 for error in refused)
        assert "3600 requests an hour" in str(refused[0])
        others = (replace(ANYONE, tenant_id=2), "other")
        assert (await rush(found, others[0], 20, others[1]))[0] == (0 if target == "global" else 20)
        await found[1].administration.remove("one", BY)
        await known(found, lambda one: not one.watch.book.current.by_target)
        assert (await rush(found, ANYONE, 20))[0] == 20
        with pytest.raises(NotFoundError):
            await found[1].administration.remove("one", BY)


_KEY = """
INSERT INTO api_keys (tenant_id, name, role, prefix, digest)
VALUES (1, '{}', 'user', 'p', sha256(random()::text::bytea)) RETURNING id
"""


def a_key(dsn: str, name: str) -> int:
    return int(sql(dsn, _KEY.format(name)))


async def test_a_keys_own_limit_and_one_set_at_run_time_both_hold(migrated_dsn: str) -> None:
    number, other = a_key(migrated_dsn, "ci"), a_key(migrated_dsn, "twin")
    a_key(migrated_dsn, "twin")
    who = caller(number, requests_per_minute=30)
    async with instance(migrated_dsn) as one:
        administration = one.administration
        await administration.set(limit("key:ci", per_minute=600, per_hour=20), BY)
        await known([one], in_force(TargetKind.KEY, number))
        admitted, refused = await rush([one], who, 50)
        assert admitted == 20
        assert isinstance(refused[0], RateLimitExceededError)
        headers = dict(refused[0].headers)
        assert headers["x-ratelimit-limit-requests"] == "20"
        assert headers["x-ratelimit-remaining-requests"] == "0"
        await administration.set(limit(f"key:{number}", per_minute=600, per_hour=600), BY)
        await known([one], lambda i: len(i.watch.book.current.find(TargetKind.KEY, number)) == 2)
        assert (await rush([one], who, 50))[0] <= 10, "30 of its own, less 20"
        assert [kept.limit_id for kept in await administration.list("key:ci")] == ["one"]
        assert await administration.list(f"key:{other}") == []
        with pytest.raises(InvalidRequestError, match="number"):
            await administration.set(limit("key:twin", per_minute=1), BY)
    view = "SELECT target, set_by, amount, every FROM limit_overview ORDER BY amount, every"
    sql(migrated_dsn, "UPDATE api_keys SET tokens_per_minute = 700")
    told = sql(migrated_dsn, view)
    rates = [f"key:{number}|limit one|600|{every}" for every in ("hour", "minute")]
    assert told.splitlines() == [*rates, *(f"key:{n}|key|700|minute" for n in (1, 2, 3))]


async def test_a_change_is_audited_once_with_who_made_it(migrated_dsn: str) -> None:
    async with instance(migrated_dsn) as one:
        made = await one.administration.set(limit("model:gpt", "", per_minute=60), BY)
        assert made.limit_id.startswith("rl-")
        await one.administration.set(made, BY)
        await one.administration.set(replace(made, enabled=False), BY)
        await one.administration.remove(made.limit_id, BY)
    rows = sql(
        migrated_dsn,
        "SELECT action, subject, actor, actor_key_id, peer, request_id, instance,"
        " after->>'enabled' FROM audit_log ORDER BY id",
    )
    common = "model gpt|operator|7|192.0.2.1|req-1|test"
    assert rows == f"limit.set|{common}|true\nlimit.set|{common}|false\nlimit.removed|{common}|"


async def test_a_limit_set_by_sql_is_in_force_too(migrated_dsn: str) -> None:
    async with instance(migrated_dsn) as one:
        sql(
            migrated_dsn,
            "INSERT INTO rate_limits (limit_id, kind, name, requests_per_second)"
            " VALUES ('x', 'model', 'm', 5)",
        )
        await known([one], in_force(TargetKind.MODEL, "m"))
        assert (await rush([one], ANYONE, 50))[0] <= 6
    assert sql(migrated_dsn, "SELECT actor FROM audit_log").startswith("SQL: ")


async def test_a_notification_that_is_lost_is_made_up_for(migrated_dsn: str) -> None:
    async with instance(migrated_dsn, poll_s=0.1) as deaf, instance(migrated_dsn) as other:
        deaf.listening.cancel()
        await other.administration.set(limit("global", per_minute=60), BY)
        await known([deaf, other], in_force(TargetKind.GLOBAL))


async def test_what_is_disabled_is_kept_and_does_nothing(migrated_dsn: str) -> None:
    async with instance(migrated_dsn) as one:
        kept = replace(limit("global", per_minute=1), enabled=False, metadata={"why": "later"})
        await one.administration.set(kept, BY)
        await one.watch.read()
        assert (await rush([one], ANYONE, 20))[0] == 20
        assert list(await one.administration.list()) == [kept]


async def test_a_lowered_limit_does_not_go_on_with_the_burst_before(migrated_dsn: str) -> None:
    async with instances(migrated_dsn, 4) as found:
        await found[0].administration.set(limit("global", per_hour=100_000), BY)
        await known(found, in_force(TargetKind.GLOBAL))
        assert (await rush(found, ANYONE, 400))[0] == 400
        await found[0].administration.set(limit("global", per_hour=10), BY)
        await known(found, lambda i: i.watch.book.current.find(TargetKind.GLOBAL)[0].rate == 10)
        assert (await rush(found, ANYONE, 400))[0] <= 10


async def test_what_cannot_be_is_refused(migrated_dsn: str) -> None:
    async with instance(migrated_dsn) as one:
        administration = one.administration
        for target in ("key:none", "tenant:none", "provider:none", "key:99"):
            with pytest.raises(NotFoundError) as missing:
                await administration.set(limit(target, per_minute=1), BY)
            assert missing.value.facts == {"param": "target"}
        for target in ("", "global:x", "model:", "other:x", "models", "model:a\nb"):
            with pytest.raises(InvalidRequestError):
                await administration.set(limit(target, per_minute=1), BY)
        faults: Sequence[RateLimit] = (
            limit("global"),
            limit("global", per_minute=-1),
            limit("global", per_second=10**9 + 1),
            limit("global", per_minute=1, burst=2**40),
            limit("global", "a b", per_minute=1),
            replace(limit("global", per_minute=1), metadata={"": "x"}),
        )
        for fault in faults:
            with pytest.raises(InvalidRequestError):
                await administration.set(fault, BY)
        largest = limit("provider:openai", per_second=10**9, per_hour=10**9, burst=10**9)
        assert await administration.set(largest, BY) == largest
        assert list(await administration.list("provider:openai")) == [largest]
        await one.watch.read()
        first, second = one.watch.book.current.find(TargetKind.PROVIDER, "openai")
        assert (first.window_s, second.window_s) == (1, 3600)
        for huge in (first, second):
            await one.leases.acquire([(one.leases.bucket(huge), 1000)])
