"""A collection embedded anew: vectors of its next generation beside those that serve."""

from collections.abc import Sequence

from pgvector import HalfVector

from ailb_server.domain.embedding import EmbeddingSpace, Vector
from ailb_server.domain.knowledge import Collection, Unembedded, mismatch
from ailb_server.storage.connection import Connection
from ailb_server.storage.knowledge_rows import COLLECTION_COLUMNS, collection_of, no_collection
from ailb_server.storage.knowledge_search import PostgresSearch

_LOCK = f"""
SELECT {COLLECTION_COLUMNS} FROM collections WHERE tenant_id = $1 AND id = $2 FOR UPDATE
"""  # noqa: S608
_NEXT = """
UPDATE collections SET next_model = $3, next_dimension = $4, next_normalised = $5
 WHERE tenant_id = $1 AND id = $2
"""
_MISSING = """
SELECT k.id, k.text
  FROM collections c JOIN chunks k ON k.collection_id = c.id
 WHERE c.tenant_id = $1 AND c.id = $2 AND k.id > $4
   AND NOT EXISTS (SELECT FROM chunk_vectors v WHERE v.chunk_id = k.id AND v.generation = $3)
 ORDER BY k.id LIMIT $5
"""
_EMBEDDED = """
SELECT count(*) FROM collections c
  JOIN chunk_vectors v ON v.collection_id = c.id AND v.generation = $3
 WHERE c.tenant_id = $1 AND c.id = $2
"""
# The lock keeps the space what it is until these vectors are there to be seen.
_ADD = """
WITH target AS MATERIALIZED (
  SELECT id FROM collections
   WHERE tenant_id = $1 AND id = $2
     AND (generation = $3 AND (embedding_model, embedding_dimension, embedding_normalised)
                            = ($4, $5, $6)
       OR generation + 1 = $3 AND (next_model, next_dimension, next_normalised) = ($4, $5, $6))
     FOR SHARE
), added AS (
  INSERT INTO chunk_vectors (chunk_id, generation, collection_id, document_id, embedding)
  SELECT k.id, $3, k.collection_id, k.document_id, e.embedding
    FROM target
    JOIN chunks k ON k.collection_id = target.id
    JOIN unnest($7::bigint[], $8::halfvec[]) e (id, embedding) ON e.id = k.id
      ON CONFLICT DO NOTHING
)
SELECT id FROM target
"""
_SWAP = """
UPDATE collections
   SET generation = generation + 1, embedding_model = next_model,
       embedding_dimension = next_dimension, embedding_normalised = next_normalised,
       next_model = NULL, next_dimension = NULL, next_normalised = NULL,
       version = version + 1, updated_at = now()
 WHERE tenant_id = $1 AND id = $2
"""
_CHANGED = """
UPDATE collections SET version = version + 1, updated_at = now() WHERE tenant_id = $1 AND id = $2
"""
_PURGE = """
WITH found AS MATERIALIZED (
  SELECT v.chunk_id, v.generation FROM chunk_vectors v JOIN collections c ON c.id = v.collection_id
   WHERE c.tenant_id = $1 AND c.id = $2 AND v.chunk_id > $3
     AND v.generation <> c.generation
     AND (c.next_model IS NULL OR v.generation <> c.generation + 1)
   ORDER BY v.chunk_id LIMIT $4
), deleted AS (
  DELETE FROM chunk_vectors v USING found
   WHERE v.chunk_id = found.chunk_id AND v.generation = found.generation
)
SELECT max(chunk_id) FROM found
"""
_PURGED_AT_ONCE = 5000


class PostgresKnowledge(PostgresSearch):
    """All of knowledge's store: what reindexing asks, beside what its bases are asked."""

    async def begin_reindex(self, collection: Collection, space: EmbeddingSpace) -> int:
        """See `knowledge.ports.ReindexStore`."""
        if collection.space is None:
            collection = await self.adopt_space(collection, space)
        async with self._store.connection() as connection, connection.transaction():
            now = await _locked(connection, collection)
            ids = now.tenant_id, now.id
            if now.space == space:
                await connection.execute(_NEXT, *ids, None, None, None)
            elif now.next_space != space:
                await connection.execute(_NEXT, *ids, None, None, None)
                await _purge(connection, now)
                await connection.execute(
                    _NEXT, *ids, space.model, space.dimension, space.normalised
                )
            await _purge(connection, now)
        return now.generation + (now.space != space)

    async def unembedded(
        self, collection: Collection, generation: int, after: int, limit: int
    ) -> Sequence[Unembedded]:
        """See `knowledge.ports.ReindexStore`."""
        ids = collection.tenant_id, collection.id
        async with self._store.connection() as connection:
            rows = await connection.fetch(_MISSING, *ids, generation, after, limit)
        return [Unembedded(row["id"], row["text"]) for row in rows]

    async def embedded_count(self, collection: Collection, generation: int) -> int:
        """See `knowledge.ports.ReindexStore`."""
        ids = collection.tenant_id, collection.id
        async with self._store.connection() as connection:
            return int(await connection.fetchval(_EMBEDDED, *ids, generation))

    async def add_vectors(
        self,
        collection: Collection,
        generation: int,
        space: EmbeddingSpace,
        vectors: Sequence[tuple[int, Vector]],
    ) -> None:
        """See `knowledge.ports.ReindexStore`."""
        async with self._store.connection() as connection:
            target = await connection.fetchval(
                _ADD,
                collection.tenant_id,
                collection.id,
                generation,
                space.model,
                space.dimension,
                space.normalised,
                [chunk_id for chunk_id, _ in vectors],
                [HalfVector(vector) for _, vector in vectors],
            )
        if target is None:
            raise mismatch(await self.collection(collection.tenant_id, collection.name), space)

    async def finish_reindex(self, collection: Collection, space: EmbeddingSpace) -> bool:
        """See `knowledge.ports.ReindexStore`."""
        async with self._store.connection() as connection, connection.transaction():
            now = await _locked(connection, collection)
            if space not in (now.space, now.next_space):
                raise mismatch(now, space)
            ids = now.tenant_id, now.id
            generation = now.generation + (now.space != space)
            if await connection.fetch(_MISSING, *ids, generation, 0, 1):
                return False
            await connection.execute(_CHANGED if now.space == space else _SWAP, *ids)
        # `knowledge_indexes` removes the old vectors later: searches that have begun read them.
        return True


async def _locked(connection: Connection, collection: Collection) -> Collection:
    row = await connection.fetchrow(_LOCK, collection.tenant_id, collection.id)
    if row is None:
        raise no_collection(collection.name)
    return collection_of(row)


async def _purge(connection: Connection, collection: Collection) -> None:
    last: int | None = 0
    ids = collection.tenant_id, collection.id
    while last is not None:
        last = await connection.fetchval(_PURGE, *ids, last, _PURGED_AT_ONCE)
