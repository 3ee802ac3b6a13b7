"""Sessions past their time, and those that somebody deletes."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from ailb_server.domain.errors import InvalidRequestError, NotFoundError
from ailb_server.domain.principal import ANYONE, Principal
from ailb_server.memory.sweeping import Sweeping
from ailb_server.storage.memory_removal import PostgresMemorySweep
from ailb_server.storage.pool import Store
from tests.integration.memory.instance import Instance
from tests.support.conversations import exchange, user

TTL = timedelta(days=90)


def at(days: float) -> Callable[[], datetime]:
    moment = datetime.now(UTC) + timedelta(days=days)
    return lambda: moment


def sweeping(memory: Instance, days: float) -> Sweeping:
    return Sweeping(PostgresMemorySweep(memory.store), memory.watching, TTL, now=at(days))


async def count(memory: Instance, table: str = "sessions") -> int:
    ((number,),) = await memory.fetch(f"SELECT count(*) FROM {table}")  # noqa: S608
    return int(number)


async def test_a_session_goes_when_its_time_is_over_and_not_before(memory: Instance) -> None:
    await memory.remember(exchange(user("old"), session="old"))
    await memory.fetch("UPDATE sessions SET last_turn_at = now() - interval '10 days'")
    await memory.remember(exchange(user("new"), session="new"))
    assert await sweeping(memory, 79).sweep() == 0
    assert await sweeping(memory, 81).sweep() == 1
    assert await memory.texts("new") == ["new", "Good."]
    assert await count(memory, "turns") == 2
    assert memory.watching.stale == 1


async def test_many_and_long_sessions_go_in_bounded_batches(memory: Instance) -> None:
    await memory.fetch(
        "INSERT INTO sessions (tenant_id, external_id, turn_count)"
        " SELECT 1, 's' || n, CASE WHEN n = 1 THEN 12000 ELSE 0 END FROM generate_series(1, 250) n"
    )
    await memory.fetch(
        "INSERT INTO turns (tenant_id, session_id, turn, role, tokens, fingerprint, embeddable,"
        " request_id, text) SELECT 1, id, n, 1, 1, n, true, 'r', 'x' FROM sessions,"
        " generate_series(0, 11999) n WHERE turn_count > 0"
    )
    store = PostgresMemorySweep(memory.store)
    first = await store.sweep(datetime.now(UTC) + timedelta(days=1))
    assert first.more
    assert await count(memory, "turns") == 7000
    assert first.sessions + await sweeping(memory, 91).sweep() == 250
    assert (await count(memory), await count(memory, "turns")) == (0, 0)


async def test_one_instance_at_a_time_sweeps(memory: Instance) -> None:
    await memory.remember(exchange(user("old")))
    store = PostgresMemorySweep(memory.store)
    async with memory.store.connection() as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", 0x41494C4D)
        assert await store.sweep(at(1)()) == await store.sweep(at(2)())
        assert await count(memory) == 1
    assert (await store.sweep(at(1)())).sessions == 1


async def test_a_deleted_session_is_gone_and_may_begin_anew(memory: Instance) -> None:
    await memory.remember(exchange(user("secret")))
    await memory.conversations.delete(ANYONE, "s")
    with pytest.raises(NotFoundError):
        await memory.conversations.delete(ANYONE, "s")
    assert (await memory.recall(user("?"))).turns == ()
    await memory.remember(exchange(user("fresh")))
    assert await memory.texts() == ["fresh", "Good."]


async def test_deleting_while_turns_are_added_fails_neither(memory: Instance) -> None:
    await memory.remember(exchange(user("first")))
    adding = [memory.remember(exchange(user(f"{n}"))) for n in range(50)]
    deleting = [memory.conversations.delete(ANYONE, "s")]
    await asyncio.gather(*adding, *deleting)
    assert memory.watching.losses == 0
    rows = await memory.fetch(
        "SELECT s.turn_count, count(t) AS n FROM sessions s"
        " LEFT JOIN turns t ON t.session_id = s.id GROUP BY s.id, 1"
    )
    assert [row["turn_count"] for row in rows] == [row["n"] for row in rows]


async def test_all_of_a_user_and_all_of_a_tenant(
    memory: Instance, store: Store, other: Principal
) -> None:
    for n in range(3):
        await memory.remember(exchange(user("x"), session=f"s{n}"))
        await memory.remember(exchange(user("y"), session=f"s{n}", who=other))
    await memory.fetch("UPDATE sessions SET end_user = 'ann' WHERE external_id < 's2'")
    delete_all = memory.conversations.delete_all
    assert await delete_all(ANYONE, "bob", everyone=False) == 0
    assert await delete_all(ANYONE, "ann", everyone=False) == 2
    assert await delete_all(ANYONE, "", everyone=True) == 1
    assert await count(memory) == 3
    for end_user, everyone in (("", False), ("ann", True)):
        with pytest.raises(InvalidRequestError):
            await delete_all(other, end_user, everyone=everyone)
    assert await count(memory) == 3
