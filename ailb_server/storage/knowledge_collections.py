"""Collections in Postgres."""

from collections.abc import Sequence

import asyncpg

from ailb_server.domain.embedding import EmbeddingSpace
from ailb_server.domain.errors import AlreadyExistsError
from ailb_server.domain.knowledge import Collection, NewCollection, mismatch
from ailb_server.storage.connection import Connections
from ailb_server.storage.knowledge_rows import (
    COLLECTION_COLUMNS,
    collection_of,
    no_collection,
    storable,
)

_INSERT = f"""
INSERT INTO collections (tenant_id, name, description, embedding_model, embedding_dimension,
                         embedding_normalised, chunk_size, chunk_overlap)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
RETURNING {COLLECTION_COLUMNS}
"""  # noqa: S608
_SELECT = f"SELECT {COLLECTION_COLUMNS} FROM collections WHERE tenant_id = $1 AND name = $2"  # noqa: S608
_LIST = f"""
SELECT {COLLECTION_COLUMNS} FROM collections
 WHERE tenant_id = $1 AND name > $2 ORDER BY name LIMIT $3
"""  # noqa: S608
# Nothing is written where the space is there already.
_ADOPT = """
UPDATE collections
   SET embedding_model = $3, embedding_dimension = $4, embedding_normalised = $5,
       version = version + 1, updated_at = now()
 WHERE tenant_id = $1 AND id = $2 AND embedding_model IS NULL
"""
_DELETE = "DELETE FROM collections WHERE tenant_id = $1 AND name = $2"
_FIND = "SELECT id FROM collections WHERE tenant_id = $1 AND name = $2 FOR UPDATE"
# Walks on from the last id, because deleted rows are still there to be skipped.
_DELETE_CHUNKS = """
WITH found AS MATERIALIZED (
  SELECT k.id FROM chunks k JOIN collections c ON c.id = k.collection_id
   WHERE c.tenant_id = $1 AND c.id = $2 AND k.id > $3 ORDER BY k.id LIMIT $4
), deleted AS (
  DELETE FROM chunks k USING found WHERE k.id = found.id
)
SELECT max(id) FROM found
"""
# So many rows one statement deletes well within the pool's timeout.
_DELETED_AT_ONCE = 5000


class PostgresCollections:
    """The tenant's collections; errors as in `knowledge.ports`."""

    def __init__(self, store: Connections) -> None:
        self._store = store

    async def create_collection(self, tenant_id: int, new: NewCollection) -> Collection:
        """Raises AlreadyExistsError."""
        space = new.space
        parts = (space.model, space.dimension, space.normalised) if space else (None, None, None)
        async with self._store.connection() as connection:
            try:
                row = await connection.fetchrow(
                    _INSERT,
                    tenant_id,
                    new.name,
                    storable(new.description),
                    *parts,
                    new.chunk_size,
                    new.chunk_overlap,
                )
            except asyncpg.UniqueViolationError:
                raise AlreadyExistsError(
                    f"There is a collection `{new.name}` already.", param="name"
                ) from None
        if row is None:
            raise no_collection(new.name)
        return collection_of(row)

    async def collection(self, tenant_id: int, name: str) -> Collection:
        """Raises NotFoundError."""
        async with self._store.connection() as connection:
            row = await connection.fetchrow(_SELECT, tenant_id, storable(name))
        if row is None:
            raise no_collection(name)
        return collection_of(row)

    async def list_collections(
        self, tenant_id: int, after: str, limit: int
    ) -> Sequence[Collection]:
        """At most `limit` of those whose names come after `after`, by name."""
        async with self._store.connection() as connection:
            rows = await connection.fetch(_LIST, tenant_id, storable(after), limit)
        return [collection_of(row) for row in rows]

    async def delete_collection(self, tenant_id: int, name: str) -> None:
        """With all that it holds, at once for who reads. Raises NotFoundError."""
        async with self._store.connection() as connection, connection.transaction():
            found = await connection.fetchval(_FIND, tenant_id, storable(name))
            if found is None:
                raise no_collection(name)
            last: int | None = 0
            while last is not None:
                last = await connection.fetchval(
                    _DELETE_CHUNKS, tenant_id, found, last, _DELETED_AT_ONCE
                )
            await connection.execute(_DELETE, tenant_id, storable(name))

    async def adopt_space(self, collection: Collection, space: EmbeddingSpace) -> Collection:
        """Raises EmbeddingMismatchError, NotFoundError."""
        async with self._store.connection() as connection:
            await connection.execute(
                _ADOPT,
                collection.tenant_id,
                collection.id,
                space.model,
                space.dimension,
                space.normalised,
            )
            row = await connection.fetchrow(_SELECT, collection.tenant_id, collection.name)
        if row is None or row["id"] != collection.id:
            raise no_collection(collection.name)
        adopted = collection_of(row)
        if adopted.space != space:
            raise mismatch(adopted, space)
        return adopted
