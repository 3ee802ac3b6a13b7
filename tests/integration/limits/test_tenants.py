"""A tenant's limits, set by SQL, and the views that tell of limits."""

import asyncio

from ailb_server.domain.principal import KeyLimits
from tests.integration.limits.conftest import answer_of, caller, instance, parted
from tests.support.postgres import sql


async def test_a_change_is_audited_and_announced(migrated_dsn: str) -> None:
    sql(migrated_dsn, "UPDATE tenants SET requests_per_minute = 600 WHERE name = 'default'")
    told = sql(
        migrated_dsn,
        "SELECT action, subject, before->>'requests_per_minute', after->>'requests_per_minute'"
        " FROM audit_trail",
    )
    assert told == "tenant.limits|tenant default||600"
    sql(migrated_dsn, "UPDATE tenants SET name = name")
    assert sql(migrated_dsn, "SELECT count(*) FROM audit_trail") == "1"


async def test_the_views_tell_what_is_used(migrated_dsn: str) -> None:
    who = caller(1, requests_per_minute=60, max_concurrent=3)
    async with instance(migrated_dsn) as found:
        tries = [found.try_in(who, answer_of(1)) for _ in range(5)]
        admitted, _ = parted(await asyncio.gather(*tries))
        assert len(admitted) == 3
        told = sql(
            migrated_dsn,
            "SELECT quantity, rate, at_once, leased >= 3, instances FROM limit_usage"
            " WHERE quantity = 'slots'",
        )
        assert told == "slots|0|3|t|1"
        for one in admitted:
            one.settle(None, None)
    remains = sql(migrated_dsn, "SELECT remains FROM limit_usage WHERE quantity = 'requests'")
    assert 57 <= int(remains) <= 60
    assert sql(migrated_dsn, "SELECT sum(leased) FROM limit_usage") == "0"


async def test_a_limit_that_changes_goes_on_with_what_is_left(migrated_dsn: str) -> None:
    async with instance(migrated_dsn) as found:
        for cap, more in ((2, 2), (5, 3), (1, 0)):
            who = caller(9, max_concurrent=cap)
            assert who.limits == KeyLimits(max_concurrent=cap)
            tries = [await found.try_in(who, answer_of(1)) for _ in range(10)]
            assert len(parted(tries)[0]) == more
