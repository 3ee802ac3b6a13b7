"""The pool of connections to Postgres that every module of the store shares."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import asyncpg
from pgvector.asyncpg import register_vector

from ailb_server.storage.connection import Connection
from ailb_server.storage.dsn import place
from ailb_server.storage.outage import (
    OUTAGES,
    Backoff,
    StoreUnavailableError,
    storage_unavailable,
)
from ailb_server.storage.spans import statement_seen

__all__ = ["Store", "StoreUnavailableError"]

_CONNECT_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 5.0
_PING_TIMEOUT_S = 2.0
_VECTOR_SCHEMA = """
SELECT nspname FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace
 WHERE extname = 'vector'
"""


@dataclass(frozen=True, slots=True)
class PoolUse:
    """Connections that are used and that are not, and how many wait for one."""

    used: int
    idle: int
    waiting: int


class Store:
    """`size` connections to the Postgres at `dsn`, opened once and kept.

    A connection is handed on without the usual reset query, so whoever uses one must not change
    its session (SET, LISTEN, advisory locks outside transactions); an open transaction is rolled
    back. `acquire_timeout_s` bounds the wait for a free connection, `statement_timeout_s` each
    statement. `traced`: statements become spans of the traces that they are within.
    """

    def __init__(
        self,
        dsn: str,
        *,
        size: int = 10,
        acquire_timeout_s: float = 5.0,
        statement_timeout_s: float = 10.0,
        backoff: Backoff | None = None,
        traced: bool = False,
    ) -> None:
        self._traced = traced
        self._asked = 0
        self._dsn = dsn
        self._size = size
        self._acquire_timeout_s = acquire_timeout_s
        self._statement_timeout_s = statement_timeout_s
        self._backoff = backoff or Backoff()
        self._pool: Any = None

    async def wait_ready(self, timeout_s: float = 30.0) -> None:
        """Waits until Postgres answers, for a migration to run before the pool opens.

        Raises `StoreUnavailableError` after `timeout_s`, or at once if waiting does not help.
        """
        await self._backoff.retry(self._touch, timeout_s, place(self._dsn))

    async def open(self, connect_timeout_s: float = 30.0) -> None:
        """Opens all connections; the extension vector must be there, so migrate first.

        Raises `StoreUnavailableError` as `wait_ready` does.
        """
        if self._pool is None:
            self._pool = await self._backoff.retry(
                self._open_pool, connect_timeout_s, place(self._dsn)
            )

    async def close(self) -> None:
        """Waits a moment for connections in use, then closes all. May be repeated."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        with suppress(*OUTAGES, asyncpg.PostgresError, asyncpg.InterfaceError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await pool.close()

    async def ping(self) -> None:
        """One round trip; raises `StorageUnavailableError` if it fails or takes over 2 s."""
        try:
            async with asyncio.timeout(_PING_TIMEOUT_S), self.connection() as connection:
                await connection.fetchval("SELECT 1")
        except TimeoutError as error:
            raise storage_unavailable() from error

    @property
    def pool(self) -> asyncpg.Pool:
        """The pool itself; unlike `connection`, it raises asyncpg's own errors."""
        if self._pool is None:
            raise storage_unavailable()
        return self._pool

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for statements and nothing else.

        Raises `StorageUnavailableError` for every outage, also in the middle of a statement, and
        when none is free in time. Faults of a statement stay asyncpg's errors.
        """
        pool = self.pool
        self._asked += 1
        try:
            async with pool.acquire(timeout=self._acquire_timeout_s) as connection:
                with _closed_is_an_outage(connection):
                    yield connection
        except OUTAGES as error:
            raise storage_unavailable() from error
        except asyncpg.InterfaceError as error:
            if pool.is_closing():
                raise storage_unavailable() from error
            raise
        finally:
            self._asked -= 1

    def use(self) -> PoolUse:
        """As it is now."""
        if self._pool is None:
            return PoolUse(0, 0, 0)
        size, idle = self._pool.get_size(), self._pool.get_idle_size()
        return PoolUse(size - idle, idle, max(0, self._asked - (size - idle)))

    async def _touch(self) -> None:
        connection = await asyncpg.connect(self._dsn, timeout=_CONNECT_TIMEOUT_S)
        await connection.close(timeout=_CLOSE_TIMEOUT_S)

    async def _open_pool(self) -> asyncpg.Pool:
        pool = asyncpg.create_pool(
            self._dsn,
            # No floor: asyncpg's maintenance of one logs tracebacks during an outage. Connections
            # are opened here and kept for ever; a broken one is replaced when it is next asked for.
            min_size=0,
            init_size=0,
            max_size=self._size,
            max_inactive_connection_lifetime=0,
            init=self._prepare,
            reset=_keep_session,
            timeout=_CONNECT_TIMEOUT_S,
            # Postgres ends a long statement itself; this is for a network that went silent.
            command_timeout=self._statement_timeout_s + 1,
            server_settings={
                "application_name": "ailb",
                "statement_timeout": f"{self._statement_timeout_s * 1000:.0f}",
                "idle_in_transaction_session_timeout": "60000",
                "timezone": "UTC",
                "jit": "off",
                # As many candidates as searches of knowledge ask for, and on until a filter has
                # them. Measured: recall@10 of 0.995, where the default of 40 has 0.97.
                "hnsw.ef_search": "100",
                "hnsw.iterative_scan": "relaxed_order",
            },
        )
        await pool
        try:
            await self._fill(pool)
        except BaseException:
            pool.terminate()
            raise
        return pool

    async def _prepare(self, connection: asyncpg.Connection) -> None:
        await _prepare(connection)
        if self._traced:
            connection.add_query_logger(statement_seen)

    async def _fill(self, pool: asyncpg.Pool) -> None:
        acquiring = (pool.acquire(timeout=_CONNECT_TIMEOUT_S) for _ in range(self._size))
        # All of them are waited for: a connection made after a failure would belong to nobody.
        results = await asyncio.gather(*acquiring, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        for connection in results:
            await pool.release(connection)


@contextmanager
def _closed_is_an_outage(connection: asyncpg.Connection) -> Iterator[None]:
    # asyncpg tells a closed connection by the class that also tells a caller's mistake.
    try:
        yield
    except asyncpg.InterfaceError as error:
        if _is_closed(connection):
            raise storage_unavailable() from error
        raise


def _is_closed(connection: asyncpg.Connection) -> bool:
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:
        # The pool has taken the broken connection back already.
        return True


async def _prepare(connection: asyncpg.Connection) -> None:
    schema = await connection.fetchval(_VECTOR_SCHEMA)
    if schema is None:
        raise asyncpg.UndefinedObjectError("the extension vector is missing: run `ailb migrate`")
    await register_vector(connection, schema=schema)


async def _keep_session(_connection: asyncpg.Connection) -> None:
    """Saves the round trip of asyncpg's reset query: we change no session state."""
