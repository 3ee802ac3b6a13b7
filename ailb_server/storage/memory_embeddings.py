"""Turns' embeddings: who is to embed what, and in which space."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from ailb_server.domain.embedding import EmbeddingSpace, Vector
from ailb_server.domain.memory_queries import Embedded, Mismatch, TurnText
from ailb_server.storage.connection import Connection, Row
from ailb_server.storage.memory_rows import halfvec
from ailb_server.storage.pool import Store

# More than any model reads of one text.
_CHARACTERS = 8000

# Tenant by tenant, because the index begins with the tenant: those of another space cost nothing.
CLAIM = f"""
SELECT turn.* FROM tenants
  LEFT JOIN memory_spaces space ON space.tenant_id = tenants.id
 CROSS JOIN LATERAL (
       SELECT t.tenant_id, t.session_id, t.turn, left(t.text, {_CHARACTERS}) AS text
         FROM turns t
        WHERE t.tenant_id = tenants.id AND t.embedding IS NULL AND t.embeddable
        ORDER BY t.created_at LIMIT $4
          FOR UPDATE SKIP LOCKED) turn
 WHERE space.tenant_id IS NULL
    OR (space.model = $1 AND space.dimension = $2 AND space.normalised = $3)
 LIMIT $4
"""  # noqa: S608 - a constant
CLAIM_OUTDATED = f"""
SELECT t.tenant_id, t.session_id, t.turn, left(t.text, {_CHARACTERS}) AS text
  FROM turns t
 WHERE t.tenant_id = $1 AND (t.session_id, t.turn) > ($6, $7)
   AND t.embeddable AND t.space_version IS DISTINCT FROM (
       SELECT version FROM memory_spaces
        WHERE tenant_id = $1 AND model = $2 AND dimension = $3 AND normalised = $4)
 ORDER BY t.session_id, t.turn LIMIT $5
   FOR UPDATE SKIP LOCKED
"""  # noqa: S608 - a constant
_RECORD = """
INSERT INTO memory_spaces (tenant_id, model, dimension, normalised)
SELECT tenant_id, $2, $3, $4 FROM unnest($1::integer[]) AS tenant_id
ON CONFLICT (tenant_id) DO NOTHING
"""
# FOR SHARE: a reindex that would change the space waits for this transaction, or is seen by it.
_VERSIONS = """
SELECT tenant_id, version FROM memory_spaces
 WHERE tenant_id = ANY ($1::integer[]) AND model = $2 AND dimension = $3 AND normalised = $4
   FOR SHARE
"""
_WRITE = """
UPDATE turns t SET embedding = new.embedding, space_version = new.version
  FROM unnest($1::integer[], $2::bigint[], $3::integer[], $4::integer[], $5::halfvec[])
       AS new (tenant_id, session_id, turn, version, embedding)
 WHERE t.tenant_id = new.tenant_id AND t.session_id = new.session_id AND t.turn = new.turn
"""
_NOT_EMBEDDABLE = """
UPDATE turns t SET embeddable = false, embedding = NULL, space_version = NULL
  FROM unnest($1::integer[], $2::bigint[], $3::integer[]) AS bad (tenant_id, session_id, turn)
 WHERE t.tenant_id = bad.tenant_id AND t.session_id = bad.session_id AND t.turn = bad.turn
"""
_MISMATCH = """
SELECT tenant.name, space.model, space.dimension, space.normalised, space.reindexing
  FROM memory_spaces space JOIN tenants tenant ON tenant.id = space.tenant_id
 WHERE space.model <> $1 OR space.dimension <> $2 OR space.normalised <> $3 OR space.reindexing
 ORDER BY space.reindexing, space.tenant_id LIMIT 1
"""
_BEGIN = """
INSERT INTO memory_spaces AS space (tenant_id, model, dimension, normalised, reindexing)
VALUES ($1, $2, $3, $4, true)
ON CONFLICT (tenant_id) DO UPDATE
   SET version = space.version + 1, model = EXCLUDED.model, dimension = EXCLUDED.dimension,
       normalised = EXCLUDED.normalised, reindexing = true, recorded_at = now()
 WHERE (space.model, space.dimension, space.normalised)
       <> (EXCLUDED.model, EXCLUDED.dimension, EXCLUDED.normalised)
"""
_END = """
UPDATE memory_spaces SET reindexing = false
 WHERE tenant_id = $1 AND model = $2 AND dimension = $3 AND normalised = $4 AND reindexing
"""
_EMBEDDED = """
SELECT count(*) FILTER (WHERE t.space_version = space.version) AS done, count(*) AS total
  FROM turns t JOIN memory_spaces space ON space.tenant_id = t.tenant_id
 WHERE t.tenant_id = $1 AND t.embeddable
"""


class PostgresClaim:
    """See `memory.stores.Claim`: rows locked by the transaction of `connection`."""

    def __init__(self, connection: Connection, space: EmbeddingSpace, rows: Sequence[Row]) -> None:
        self._connection = connection
        self._space = space
        self.turns = [
            TurnText(row["tenant_id"], row["session_id"], row["turn"], row["text"]) for row in rows
        ]

    async def write(self, vectors: Sequence[Vector | None]) -> int:
        """Records the space of tenants that have none yet."""
        pairs = list(zip(self.turns, vectors, strict=True))
        await self._refuse([turn for turn, vector in pairs if vector is None])
        versions = await self._versions()
        good = [
            (turn.tenant_id, turn.session_id, turn.turn, versions[turn.tenant_id], halfvec(vector))
            for turn, vector in pairs
            if vector is not None and turn.tenant_id in versions
        ]
        if good:
            await self._connection.execute(_WRITE, *map(list, zip(*good, strict=True)))
        return len(good)

    async def _versions(self) -> dict[int, int]:
        tenants = sorted({turn.tenant_id for turn in self.turns})
        space = _members(self._space)
        await self._connection.execute(_RECORD, tenants, *space)
        rows = await self._connection.fetch(_VERSIONS, tenants, *space)
        return {row["tenant_id"]: row["version"] for row in rows}

    async def _refuse(self, turns: Sequence[TurnText]) -> None:
        if turns:
            keys = [(turn.tenant_id, turn.session_id, turn.turn) for turn in turns]
            await self._connection.execute(_NOT_EMBEDDABLE, *map(list, zip(*keys, strict=True)))


class PostgresMemoryEmbeddings:
    """See `memory.stores.EmbeddingStore` and `ReindexStore`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @asynccontextmanager
    async def claim(self, space: EmbeddingSpace, limit: int) -> AsyncIterator[PostgresClaim]:
        """Holds a connection until its end."""
        async with self._store.connection() as connection, connection.transaction():
            rows = await connection.fetch(CLAIM, *_members(space), limit)
            yield PostgresClaim(connection, space, rows)

    @asynccontextmanager
    async def claim_outdated(
        self, tenant_id: int, space: EmbeddingSpace, limit: int, after: tuple[int, int]
    ) -> AsyncIterator[PostgresClaim]:
        """Holds a connection until its end."""
        asked = (tenant_id, *_members(space), limit, *after)
        async with self._store.connection() as connection, connection.transaction():
            rows = await connection.fetch(CLAIM_OUTDATED, *asked)
            yield PostgresClaim(connection, space, rows)

    async def mismatch(self, space: EmbeddingSpace) -> Mismatch | None:
        """Of several tenants, the first."""
        async with self._store.connection() as connection:
            row = await connection.fetchrow(_MISMATCH, *_members(space))
        if row is None:
            return None
        recorded = EmbeddingSpace(row["model"], row["dimension"], row["normalised"])
        return Mismatch(row["name"], recorded, row["reindexing"] and recorded == space)

    async def begin_reindex(self, tenant_id: int, space: EmbeddingSpace) -> None:
        """Changes nothing if the space is recorded already."""
        async with self._store.connection() as connection:
            await connection.execute(_BEGIN, tenant_id, *_members(space))

    async def embedded(self, tenant_id: int) -> Embedded:
        """Reads all of the tenant's turns."""
        async with self._store.connection() as connection:
            row = await connection.fetchrow(_EMBEDDED, tenant_id)
        return Embedded(row["done"], row["total"]) if row else Embedded(0, 0)

    async def end_reindex(self, tenant_id: int, space: EmbeddingSpace) -> None:
        """Unless another reindex has changed the space."""
        async with self._store.connection() as connection:
            await connection.execute(_END, tenant_id, *_members(space))


def _members(space: EmbeddingSpace) -> tuple[str, int, bool]:
    return space.model, space.dimension, space.normalised
