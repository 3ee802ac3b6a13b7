"""Claims of Idempotency-Keys: in Postgres, and by the double that other tests use."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from ailb_server.domain.repeats import Claim, OnceName, OnceStore, Taken
from ailb_server.storage.idempotency import MAX_SWEPT, SWEEP, PostgresOnceStore
from ailb_server.storage.pool import Store
from tests.support.once_store import InMemoryOnceStore

NAME = OnceName(1, 7, hashlib.sha256(b"name").digest())
BODY, OTHER = (hashlib.sha256(text).digest() for text in (b"body", b"other"))
LEASE_S = 30.0


@dataclass
class Rig:
    """A store, and what lets a lease end."""

    store: OnceStore
    later: Callable[[], Awaitable[None]]


@pytest.fixture
async def pool(migrated_dsn: str) -> AsyncIterator[Store]:
    store = Store(migrated_dsn, size=4)
    await store.open()
    yield store
    await store.close()


@pytest.fixture(params=["memory", "postgres"])
async def rig(request: pytest.FixtureRequest, pool: Store) -> Rig:
    if request.param == "memory":
        double = InMemoryOnceStore(LEASE_S)

        async def tick() -> None:
            double.now += LEASE_S + 1

        return Rig(double, tick)

    async def later() -> None:
        await run(pool, "UPDATE idempotent_requests SET lease_until = now() - interval '1 s'")

    return Rig(PostgresOnceStore(pool, LEASE_S), later)


async def run(pool: Store, statement: str) -> None:
    async with pool.connection() as connection:
        await connection.execute(statement)


async def claimed(rig: Rig, name: OnceName = NAME, body: bytes = BODY) -> Claim:
    found = await rig.store.claim(name, body)
    assert isinstance(found, Claim), found
    return found


async def test_one_has_it_and_the_others_are_told_what_became_of_it(rig: Rig) -> None:
    claim = await claimed(rig)
    assert await rig.store.claim(NAME, BODY) == Taken(same=True)
    assert await rig.store.claim(NAME, OTHER) == Taken(same=False)
    assert await rig.store.finish(claim, b"\x00\xff answer")
    assert await rig.store.claim(NAME, BODY) == Taken(
        same=True, done=True, recording=b"\x00\xff answer"
    )
    assert await rig.store.claim(NAME, OTHER) == Taken(same=False, done=True)
    assert not await rig.store.finish(claim, b"another")


async def test_names_are_apart_by_tenant_key_and_header(rig: Rig) -> None:
    await claimed(rig)
    await claimed(rig, OnceName(1, 8, NAME.digest))
    await claimed(rig, OnceName(1, 0, NAME.digest))
    await claimed(rig, OnceName(1, 7, OTHER))


async def test_what_is_released_may_be_claimed_by_any_body(rig: Rig) -> None:
    await rig.store.release(await claimed(rig))
    await claimed(rig, body=OTHER)


async def test_an_answer_too_large_is_an_answer(rig: Rig) -> None:
    await rig.store.finish(await claimed(rig), None)
    assert await rig.store.claim(NAME, BODY) == Taken(same=True, done=True)


async def test_a_lease_that_ends_is_anybodys_and_its_holder_loses(rig: Rig) -> None:
    late = await claimed(rig)
    await rig.later()
    assert await rig.store.renew(late), "nobody has taken it yet"
    assert await rig.store.claim(NAME, BODY) == Taken(same=True)
    await rig.later()
    claim = await claimed(rig)
    assert not await rig.store.renew(late)
    assert not await rig.store.finish(late, b"late")
    await rig.store.release(late)
    assert await rig.store.finish(claim, b"answer")
    await rig.later()
    assert await rig.store.claim(NAME, BODY) == Taken(same=True, done=True, recording=b"answer"), (
        "for good"
    )


async def test_of_many_at_once_on_two_instances_one_has_it(pool: Store, migrated_dsn: str) -> None:
    other = Store(migrated_dsn, size=4)
    await other.open()
    stores = [PostgresOnceStore(pool, LEASE_S), PostgresOnceStore(other, LEASE_S)]
    found = await asyncio.gather(*(stores[n % 2].claim(NAME, BODY) for n in range(50)))
    assert sum(isinstance(one, Claim) for one in found) == 1
    assert found.count(Taken(same=True)) == 49
    await other.close()


async def test_after_a_day_a_name_is_free_and_its_row_goes(pool: Store) -> None:
    store = PostgresOnceStore(pool, LEASE_S)
    claim = await store.claim(NAME, BODY)
    assert isinstance(claim, Claim)
    await store.finish(claim, b"answer")
    assert not await store.sweep()
    past = "UPDATE idempotent_requests SET expires_at = now() - interval '1 s'"
    await run(pool, past)
    assert isinstance(await store.claim(NAME, OTHER), Claim)
    await run(pool, past)
    await run(
        pool,
        "INSERT INTO idempotent_requests (tenant_id, key_id, name_digest, request_digest,"  # noqa: S608
        " lease_until, expires_at) SELECT 1, n, repeat('x', 32)::bytea, repeat('x', 32)::bytea,"
        f" now(), now() - interval '1 h' FROM generate_series(1, {MAX_SWEPT}) n",
    )
    assert await store.sweep(), "there is more"
    assert not await store.sweep()
    async with pool.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM idempotent_requests") == 0


async def test_sweeps_use_their_index(pool: Store) -> None:
    async with pool.connection() as connection, connection.transaction():
        await connection.execute("SET LOCAL enable_seqscan = off")
        rows = await connection.fetch(f"EXPLAIN {SWEEP}")
    plan = "\n".join(row["QUERY PLAN"] for row in rows)
    assert "idempotent_requests_expires" in plan


async def test_a_tenants_answers_go_with_it(pool: Store) -> None:
    await run(pool, "INSERT INTO tenants (id, name) VALUES (77, 'gone')")
    assert isinstance(
        await PostgresOnceStore(pool, LEASE_S).claim(OnceName(77, 0, OTHER), BODY), Claim
    )
    await run(pool, "DELETE FROM tenants WHERE id = 77")
    async with pool.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM idempotent_requests") == 0
