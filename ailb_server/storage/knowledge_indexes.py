"""The HNSW indexes of big collections: one each, made and dropped while everything runs."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import asyncpg

from ailb_server.storage.connection import Connection
from ailb_server.storage.outage import OUTAGES, storage_unavailable
from ailb_server.storage.pool import Store

_log = logging.getLogger(__name__)

_LOCK = 0x41494C43
_LOCK_POLL_S = 0.2
_LOCK_TIMEOUT_S = 600.0
_CONNECT_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 5.0
_PURGED_AT_ONCE = 5000
# Of all tenants: whose a collection is makes no difference to its index.
_COLLECTIONS = """
SELECT id, generation, embedding_dimension AS dimension, passage_count AS passages,
       next_model IS NOT NULL AS reindexing
  FROM collections
 WHERE passage_count >= $1 AND embedding_dimension IS NOT NULL
"""
_INDEXES = r"""
SELECT c.relname AS name, i.indisvalid AS valid
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
 WHERE i.indrelid = 'chunk_vectors'::regclass AND c.relname ~ '^chunk_vectors_hnsw_\d+_\d+$'
"""
# Twice the defaults: on clustered vectors they find 0.93 of the ten nearest, these 0.99.
_CREATE = """
CREATE INDEX CONCURRENTLY {name} ON chunk_vectors
 USING hnsw ((embedding::halfvec({dimension})) halfvec_cosine_ops)
 WITH (m = 24, ef_construction = 128)
 WHERE collection_id = {collection} AND generation = {generation}
"""
_COMMENT = """
COMMENT ON INDEX {name} IS 'Serves searches by meaning in the collection {collection}.'
"""
# A search that has read the collection's row before the swap may still be reading old vectors.
_OBSOLETE = """
FROM collections c JOIN chunk_vectors v ON v.collection_id = c.id AND v.generation < c.generation
WHERE c.generation > 1 AND c.updated_at < now() - interval '1 minute'
"""
_PURGE = f"""
DELETE FROM chunk_vectors
 WHERE (chunk_id, generation) IN (SELECT v.chunk_id, v.generation {_OBSOLETE} LIMIT $1)
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class IndexRules:
    """From how many chunks a collection gets an index, and below how many it loses it.

    Measured: an exact search of 5,000 chunks takes 2 to 6 ms, an indexed one 1 ms at any size.
    """

    made_above: int = 5000
    dropped_below: int = 2500


@dataclass(frozen=True, slots=True)
class _Index:
    collection: int
    generation: int
    dimension: int

    @property
    def name(self) -> str:
        return f"chunk_vectors_hnsw_{self.collection}_{self.generation}"


@dataclass(frozen=True, slots=True)
class _Plan:
    drop: Sequence[str]
    create: Sequence[_Index]
    purge: bool

    def __bool__(self) -> bool:
        return bool(self.drop or self.create or self.purge)


class VectorIndexes:
    """Works on a connection of its own, because an index takes longer than the pool's statements
    may. Of all instances one works at a time; the others leave it to that one."""

    def __init__(self, store: Store, dsn: str, rules: IndexRules | None = None) -> None:
        self._store = store
        self._dsn = dsn
        self._rules = rules or IndexRules()

    async def tend(self) -> bool:
        """Makes the indexes that are wanted, drops the others and what an interrupted build left,
        and removes the vectors of former generations. False: another instance is at it.

        Raises StorageUnavailableError.
        """
        async with self._store.connection() as pooled:
            if not await self._plan(pooled):
                return True
        async with self._session() as connection:
            if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
                return False
            # What was planned before may be done by now.
            await _carry_out(connection, await self._plan(connection))
        return True

    async def build(self, collection_id: int, generation: int, dimension: int) -> None:
        """Makes the index of vectors that do not serve yet, if they are many. Waits ten minutes at
        most for whoever else is at work. Raises StorageUnavailableError."""
        index = _Index(collection_id, generation, dimension)
        async with self._session() as connection:
            if not await _lock(connection):
                return
            many = await connection.fetchval(
                "SELECT passage_count > $2 FROM collections WHERE id = $1",
                collection_id,
                self._rules.made_above,
            )
            existing = {row["name"]: row["valid"] for row in await connection.fetch(_INDEXES)}
            if many and not existing.get(index.name):
                drop = [index.name] if index.name in existing else []
                await _carry_out(connection, _Plan(drop, [index], purge=False))

    async def _plan(self, connection: Connection) -> _Plan:
        rules = self._rules
        rows = await connection.fetch(_COLLECTIONS, rules.dropped_below)
        indexes = await connection.fetch(_INDEXES)
        kept, wanted = set(), []
        for row in rows:
            index = _Index(row["id"], row["generation"], row["dimension"])
            kept.add(index.name)
            if row["passages"] > rules.made_above:
                wanted.append(index)
            if row["reindexing"]:
                kept.add(_Index(row["id"], row["generation"] + 1, 0).name)
        valid = {row["name"] for row in indexes if row["valid"]}
        return _Plan(
            drop=[row["name"] for row in indexes if not row["valid"] or row["name"] not in kept],
            create=[index for index in wanted if index.name not in valid],
            purge=bool(await connection.fetchval(f"SELECT EXISTS (SELECT {_OBSOLETE})")),
        )

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[asyncpg.Connection]:
        try:
            connection = await asyncpg.connect(
                self._dsn,
                timeout=_CONNECT_TIMEOUT_S,
                server_settings={
                    "application_name": "ailb indexes",
                    "statement_timeout": "0",
                    "maintenance_work_mem": "256MB",
                    # Chats need the other processors; and Docker's /dev/shm is too small for it.
                    "max_parallel_maintenance_workers": "0",
                },
            )
            try:
                yield connection
            finally:
                # Ends the session and with it the lock; a broken one has ended already.
                with suppress(*OUTAGES, asyncpg.InterfaceError):
                    await connection.close(timeout=_CLOSE_TIMEOUT_S)
        except (*OUTAGES, asyncpg.InterfaceError) as error:
            raise storage_unavailable() from error


async def _lock(connection: asyncpg.Connection) -> bool:
    # Polled: a session that waits holds a snapshot, which CREATE INDEX CONCURRENTLY of the one that
    # has the lock would wait for.
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while time.monotonic() < deadline:
        if await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
            return True
        await asyncio.sleep(_LOCK_POLL_S)
    return False


async def _carry_out(connection: asyncpg.Connection, plan: _Plan) -> None:
    for name in plan.drop:
        await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        _log.info("dropped the index %s", name)
    done = f"DELETE {_PURGED_AT_ONCE}" if plan.purge else ""
    while done == f"DELETE {_PURGED_AT_ONCE}":
        done = await connection.execute(_PURGE, _PURGED_AT_ONCE)
    for index in plan.create:
        _log.info("making the index %s", index.name)
        names = {
            "name": index.name,
            "collection": index.collection,
            "generation": index.generation,
            "dimension": index.dimension,
        }
        await connection.execute(_CREATE.format(**names))
        await connection.execute(_COMMENT.format(**names))
