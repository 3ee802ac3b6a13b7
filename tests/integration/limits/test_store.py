"""The store in memory that the unit tests use gives the answers of the real one."""

import random
from collections.abc import Sequence

import pytest

from ailb_server.domain.limits import Ask, Limit
from ailb_server.storage.limits import PostgresLimits
from ailb_server.storage.pool import Store
from tests.support.limits import MemoryLimits, budget, hourly, rpm, slots
from tests.support.postgres import sql

TTL_S = 15.0
START = 4_000_000_000.0


def asked(limit: Limit, rng: random.Random) -> Ask:
    keep = rng.randint(0, 20)
    spare = keep if limit.rate else rng.randint(0, keep)
    least = rng.choice((0, 1, 5, 30))
    need = least * rng.randint(1, 5)
    want = need + rng.randint(0, 20)
    settled = rng.randint(-30, 30) if limit.rate else rng.randint(0, 30)
    return Ask(
        limit,
        lease=rng.randint(1, 4),
        keep=keep,
        spare=spare,
        settled=settled,
        heard=rng.randint(0, 10),
        since=rng.choice((0, 0, rng.randint(1, 10))),
        least=least,
        need=need,
        want=want,
        recall=rng.random() < 0.7,
    )


@pytest.mark.parametrize(
    "limit", [rpm(600, 60), hourly(400), budget(200), slots(40)], ids=lambda x: x.name
)
async def test_the_store_in_memory_answers_as_the_real_one(migrated_dsn: str, limit: Limit) -> None:
    rng = random.Random(7)  # noqa: S311
    now = START
    memory = MemoryLimits(lambda: now, TTL_S)
    store = Store(migrated_dsn, size=1)
    await store.open()
    try:
        real = PostgresLimits(store, "test-1", TTL_S, lambda: now)
        for step in range(400):
            now += rng.choice((0.0, 0.001, 0.25, 1.5, 9.0, 20.0))
            asks: Sequence[Ask] = [asked(limit, rng)]
            assert await real.exchange(asks) == memory.exchanged(asks), step
    finally:
        await store.close()
    assert sql(migrated_dsn, "SELECT count(*) FROM limit_leases") == "4"
