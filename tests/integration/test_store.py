"""The pool, on a server that works and on one that dies."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest
import uvloop
from pgvector import HalfVector

from ailb_server.domain.errors import StorageUnavailableError
from ailb_server.local.postgres import EmbeddedPostgres
from ailb_server.local.postgres_probe import server_pid
from ailb_server.storage.connection import Connection
from ailb_server.storage.dsn import place
from ailb_server.storage.outage import Backoff, StoreUnavailableError
from ailb_server.storage.pool import Store
from tests.support.postgres import database_dsn, eventually, socket_directory, sql

Statement = Callable[[Connection], Awaitable[object]]


@pytest.fixture
async def store(migrated_dsn: str) -> AsyncIterator[Store]:
    store = Store(migrated_dsn, size=3, acquire_timeout_s=1, statement_timeout_s=3)
    await store.open()
    yield store
    await store.close()


class Waits:
    """Time that passes only by sleeping; `then` happens in each sleep."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        self.slept: list[float] = []
        self._then = then

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.to_thread(self._then)

    def backoff(self) -> Backoff:
        return Backoff(self.sleep, lambda: sum(self.slept), lambda: 1.0)


async def test_opens_all_connections_with_codecs_and_settings(store: Store) -> None:
    await store.open()
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ailb'"
    async with store.connection() as connection:
        assert await connection.fetchval(count) == 3
        assert await connection.fetchval("SHOW statement_timeout") == "3s"
        vector = await connection.fetchval("SELECT $1::halfvec(2)", HalfVector([1, 2]))
        assert vector == HalfVector([1, 2])
    await store.ping()
    await store.close()
    await store.close()
    with pytest.raises(StorageUnavailableError):
        await store.ping()


def test_works_on_uvloop(postgres_dsn: str) -> None:
    async def use() -> object:
        store = Store(postgres_dsn, size=1)
        await store.wait_ready()
        await store.open()
        async with store.connection() as connection:
            answer = await connection.fetchval("SELECT $1::int", 42)
        await store.close()
        return answer

    assert uvloop.run(use()) == 42


async def test_a_transaction_left_open_is_rolled_back(store: Store) -> None:
    problems: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: problems.append(what))
    for _ in range(3):
        async with store.connection() as connection:
            await connection.execute("BEGIN; CREATE TABLE half (x int)")
    async with store.connection() as connection:
        assert await connection.fetchval("SELECT to_regclass('half')") is None
    assert problems, "asyncpg tells the loop"


async def test_faults_of_a_statement_stay_what_they_are(store: Store) -> None:
    async with store.connection() as connection:
        with pytest.raises(asyncpg.UndefinedTableError):
            await connection.fetch("SELECT * FROM nothing")
    with pytest.raises(asyncpg.InterfaceError, match="expects 1 argument"):
        async with store.connection() as connection:
            await connection.fetchval("SELECT $1::int")


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("SELECT pg_sleep(60)", id="statement timeout"),
        pytest.param("SELECT pg_terminate_backend(pg_backend_pid())", id="terminated"),
    ],
)
async def test_a_statement_that_an_outage_ends(store: Store, statement: str) -> None:
    with pytest.raises(StorageUnavailableError) as raised:
        async with store.connection() as connection:
            await connection.fetchval(statement)
    assert raised.value.retry_after_s
    assert str(raised.value) == "The store is unavailable."
    await store.ping()


async def test_no_free_connection_is_an_outage_and_a_cancelled_wait_loses_none(
    store: Store,
) -> None:
    async def hold(taken: asyncio.Event) -> None:
        async with store.connection() as connection:
            taken.set()
            await connection.fetchval("SELECT pg_sleep(30)")

    taken = [asyncio.Event() for _ in range(3)]
    tasks = [asyncio.create_task(hold(event)) for event in taken]
    for event in taken:
        await event.wait()
    with pytest.raises(StorageUnavailableError):
        await store.ping()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.gather(*(store.ping() for _ in range(6)))


async def test_a_killed_server_is_an_outage_until_it_is_back(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path, settings={"fsync": "off"})
    dsn = await asyncio.to_thread(server.start)
    working = "SELECT count(*) FROM pg_stat_activity WHERE state <> 'idle'"
    store = Store(dsn, size=4)
    await store.open()
    try:
        calls = [
            asyncio.create_task(_outcome(store, lambda c: c.fetchval("SELECT pg_sleep(30)"))),
            asyncio.create_task(_outcome(store, _in_transaction)),
            asyncio.create_task(_outcome(store, _busy)),
        ]
        await asyncio.to_thread(eventually, lambda: sql(dsn, working) == "4", "all calls work")
        pid = server_pid(socket_directory(dsn))
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert await asyncio.gather(*calls) == [StorageUnavailableError] * 3
        eventually(lambda: not server.alive(), "the server is gone")
        for _ in range(6):
            assert (
                await _outcome(store, lambda c: c.fetchval("SELECT 1")) is StorageUnavailableError
            )
        with pytest.raises(StorageUnavailableError):
            await store.ping()
        assert await asyncio.to_thread(server.start) == dsn
        await asyncio.gather(*(store.ping() for _ in range(8)))
    finally:
        await store.close()
        await asyncio.to_thread(server.stop)


async def _outcome(store: Store, statement: Statement) -> type[Exception] | None:
    try:
        async with store.connection() as connection:
            await statement(connection)
    except Exception as error:  # noqa: BLE001 - which one is what the test asks
        return type(error)
    return None


async def _in_transaction(connection: Connection) -> None:
    async with connection.transaction():
        await connection.fetchval("SELECT pg_sleep(30)")


async def _busy(connection: Connection) -> None:
    while True:
        await connection.executemany("SELECT $1::int", [(n,) for n in range(100)])


async def test_a_server_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path, settings={"fsync": "off"})
    dsn = await asyncio.to_thread(server.start)
    await asyncio.to_thread(server.stop)
    waits = Waits(server.start)
    store = Store(dsn, size=2, backoff=waits.backoff())
    await store.wait_ready()
    assert len(waits.slept) == 1
    await store.open()
    await store.ping()
    await store.close()
    await asyncio.to_thread(server.stop)


async def test_the_wait_for_a_server_is_bounded_and_its_end_names_the_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    waits = Waits()
    store = Store("postgres://me:secret@127.0.0.1:1/ailb", backoff=waits.backoff())
    message = r"127\.0\.0\.1:1/ailb was not reachable for 30 s: .*refused|Connect call failed"
    for operation in (store.wait_ready, store.open):
        with pytest.raises(StoreUnavailableError, match=message) as raised:
            await operation()
        assert "secret" not in str(raised.value)
    assert waits.slept[:6] == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0]
    assert max(waits.slept) == 2.0
    assert "secret" not in caplog.text
    assert "127.0.0.1:1/ailb is not reachable yet" in caplog.text


async def test_what_waiting_does_not_mend_is_told_at_once(postgres_server: str) -> None:
    waits = Waits()
    for dsn in (
        database_dsn(postgres_server, "nothing"),
        database_dsn(postgres_server, "ailb", role="stranger"),
        database_dsn(postgres_server, "ailb") + "&sslmode=perhaps",
    ):
        with pytest.raises(StoreUnavailableError, match="cannot be used"):
            await Store(dsn, backoff=waits.backoff()).open()
    assert waits.slept == []


async def test_a_full_server_is_waited_for_and_not_filled_further(postgres_dsn: str) -> None:
    name = postgres_dsn.partition("@/")[2].partition("?")[0]
    sql(postgres_dsn, f"ALTER DATABASE {name} CONNECTION LIMIT 2", role="postgres")
    waits = Waits()
    store = Store(postgres_dsn, size=3, backoff=waits.backoff())
    with pytest.raises(StoreUnavailableError, match="too many connections"):
        await store.open()
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"

    def empty() -> bool:
        return sql(postgres_dsn, f"{count} AND usename = 'ailb'", role="postgres") == "0"

    eventually(empty, "no connection is left over")


async def test_without_pgvector_it_says_what_to_do(postgres_server: str) -> None:
    sql(postgres_server, "CREATE DATABASE unmigrated TEMPLATE template0", role="postgres")
    with pytest.raises(StoreUnavailableError, match="run `ailb migrate`"):
        await Store(database_dsn(postgres_server, "unmigrated")).open()


async def test_close_does_not_wait_for_ever(
    postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ailb_server.storage.pool._CLOSE_TIMEOUT_S", 0.1)
    store = Store(postgres_dsn, size=1)
    await store.open()
    with suppress(StorageUnavailableError):
        async with store.connection() as connection:
            await store.close()
            await connection.fetchval("SELECT 1")
            pytest.fail("the connection was closed")


@pytest.mark.parametrize(
    ("dsn", "where"),
    [
        ("postgresql://u:p@db.example:5432/ailb?sslmode=require", "db.example:5432/ailb"),
        ("postgres://u:p%40%2F@[::1]:5432/ailb", "[::1]:5432/ailb"),
        ("postgresql://one:1,two:2/ailb", "one:1,two:2/ailb"),
        ("postgresql://ailb@/ailb?host=/a%20b/data", "/a b/data/ailb"),
        ("postgresql:///ailb", "the default host/ailb"),
    ],
)
def test_a_dsn_is_told_as_a_place(dsn: str, where: str) -> None:
    assert place(dsn) == where


@pytest.mark.parametrize(
    "dsn",
    [
        "mysql://u:hush@db/ailb",
        "postgresql+asyncpg://u:hush@db/ailb",
        "postgresql://u:hush/5@db/ailb",
        "postgresql://u:12#hush@db/ailb",
        "postgresql://u:12?hush@db/ailb",
        "postgresql://u:hush@db:port/ailb",
        "postgresql://u:hush@[db/ailb",
        "hush",
    ],
)
async def test_an_unusable_dsn_is_refused_without_repeating_it(dsn: str) -> None:
    for operation in (Store(dsn).wait_ready, Store(dsn).open):
        with pytest.raises(StoreUnavailableError, match="percent-encoded") as raised:
            await operation()
        assert "hush" not in str(raised.value)
        assert raised.value.__suppress_context__ or raised.value.__context__ is None
