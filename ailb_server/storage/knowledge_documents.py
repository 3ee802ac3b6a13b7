"""Documents in Postgres, each replaced as a whole."""

from collections.abc import Mapping, Sequence

import asyncpg
import orjson
from pgvector import HalfVector

from ailb_server.domain.chat import Json
from ailb_server.domain.knowledge import Collection, DocumentRecord, NewChunk, NewDocument, mismatch
from ailb_server.storage.connection import Connection, Row
from ailb_server.storage.knowledge_collections import PostgresCollections
from ailb_server.storage.knowledge_rows import (
    COLLECTION_COLUMNS,
    DOCUMENT_COLUMNS,
    collection_of,
    document_of,
    no_collection,
    no_document,
    storable,
)

_SELECT = f"""
SELECT {DOCUMENT_COLUMNS} FROM documents
 WHERE tenant_id = $1 AND collection_id = $2 AND external_id = $3
"""  # noqa: S608
_LIST = f"""
SELECT {DOCUMENT_COLUMNS} FROM documents
 WHERE tenant_id = $1 AND collection_id = $2 AND external_id > $3 ORDER BY external_id LIMIT $4
"""  # noqa: S608
_HASHES = """
SELECT external_id, sha256 FROM documents
 WHERE tenant_id = $1 AND collection_id = $2 AND external_id = ANY($3)
"""
# Nothing is written to another tenant's collection: there is no row to select. It is locked first,
# as by `delete_collection`, or the two would wait for each other.
_UPSERT = f"""
INSERT INTO documents (tenant_id, collection_id, external_id, title, source, metadata, sha256,
                       characters, passage_count)
SELECT tenant_id, id, $3, $4, $5, $6::jsonb, $7, $8, $9
  FROM collections WHERE tenant_id = $1 AND id = $2 FOR KEY SHARE
ON CONFLICT (collection_id, external_id) DO UPDATE
   SET title = EXCLUDED.title, source = EXCLUDED.source, metadata = EXCLUDED.metadata,
       sha256 = EXCLUDED.sha256, characters = EXCLUDED.characters,
       passage_count = EXCLUDED.passage_count, updated_at = now()
RETURNING id, xmax = 0 AS is_new, {DOCUMENT_COLUMNS}
"""  # noqa: S608
_DELETE_CHUNKS = """
DELETE FROM chunks WHERE document_id = (SELECT id FROM documents WHERE tenant_id = $1 AND id = $2)
"""
_INSERT_CHUNKS = """
INSERT INTO chunks (collection_id, document_id, ordinal, overlap, text)
SELECT $2, d.id, c.ordinal, c.overlap, c.text
  FROM documents d, unnest($4::integer[], $5::integer[], $6::text[]) c (ordinal, overlap, text)
 WHERE d.tenant_id = $1 AND d.id = $3
RETURNING id, ordinal
"""
_INSERT_VECTORS = """
INSERT INTO chunk_vectors (chunk_id, generation, collection_id, document_id, embedding)
SELECT v.chunk_id, $4, $2, d.id, v.embedding
  FROM documents d, unnest($5::bigint[], $6::halfvec[]) v (chunk_id, embedding)
 WHERE d.tenant_id = $1 AND d.id = $3
"""
# The last statement, because it locks the collection's row. It writes nothing if the collection was
# embedded anew meanwhile: these vectors are of another space then.
_COUNT = """
UPDATE collections
   SET document_count = document_count + $4, passage_count = passage_count + $5,
       version = version + 1, updated_at = now()
 WHERE tenant_id = $1 AND id = $2 AND generation = $3
RETURNING id
"""
_DELETE = """
DELETE FROM documents
 WHERE tenant_id = $1 AND external_id = $3
   AND collection_id = (SELECT id FROM collections WHERE tenant_id = $1 AND id = $2 FOR KEY SHARE)
RETURNING passage_count
"""
_COUNT_DELETED = """
UPDATE collections
   SET document_count = document_count - 1, passage_count = passage_count - $3,
       version = version + 1, updated_at = now()
 WHERE tenant_id = $1 AND id = $2
"""
_COLLECTION = f"SELECT {COLLECTION_COLUMNS} FROM collections WHERE tenant_id = $1 AND id = $2"  # noqa: S608
# With an HNSW index a row takes some 2 ms: a statement stays well within the pool's timeout.
_INSERTED_AT_ONCE = 500


class PostgresDocuments(PostgresCollections):
    """A collection's documents; errors as in `knowledge.ports`."""

    async def document(self, collection: Collection, document_id: str) -> DocumentRecord:
        """Raises NotFoundError."""
        async with self._store.connection() as connection:
            row = await connection.fetchrow(
                _SELECT, collection.tenant_id, collection.id, storable(document_id)
            )
        if row is None:
            raise no_document(document_id)
        return document_of(row)

    async def list_documents(
        self, collection: Collection, after: str, limit: int
    ) -> Sequence[DocumentRecord]:
        """At most `limit` of those whose ids come after `after`, by id."""
        async with self._store.connection() as connection:
            rows = await connection.fetch(
                _LIST, collection.tenant_id, collection.id, storable(after), limit
            )
        return [document_of(row) for row in rows]

    async def stored_hashes(self, collection: Collection, ids: Sequence[str]) -> Mapping[str, str]:
        """The `sha256` of each of these documents that is stored, by id."""
        wanted = [storable(id_) for id_ in ids]
        async with self._store.connection() as connection:
            rows = await connection.fetch(_HASHES, collection.tenant_id, collection.id, wanted)
        return {row["external_id"]: row["sha256"] for row in rows}

    async def delete_document(self, collection: Collection, document_id: str) -> None:
        """With its chunks. Raises NotFoundError."""
        tenant_id, id_ = collection.tenant_id, collection.id
        async with self._store.connection() as connection, connection.transaction():
            passages = await connection.fetchval(_DELETE, tenant_id, id_, storable(document_id))
            if passages is None:
                raise no_document(document_id)
            await connection.execute(_COUNT_DELETED, tenant_id, id_, passages)

    async def replace_document(
        self, collection: Collection, document: NewDocument, chunks: Sequence[NewChunk]
    ) -> DocumentRecord:
        """Raises NotFoundError, EmbeddingMismatchError; ValueError for vectors that do not fit."""
        _check_dimensions(collection, chunks)
        async with self._store.connection() as connection:
            try:
                async with connection.transaction():
                    row = await _replace(connection, collection, document, chunks)
            except asyncpg.ForeignKeyViolationError:
                raise no_collection(collection.name) from None
        return document_of(row)


async def _replace(
    connection: Connection,
    collection: Collection,
    document: NewDocument,
    chunks: Sequence[NewChunk],
) -> Row:
    tenant_id, id_ = collection.tenant_id, collection.id
    row = await connection.fetchrow(_UPSERT, *_row_of(collection, document, len(chunks)))
    if row is None:
        raise no_collection(collection.name)
    deleted = 0
    if not row["is_new"]:
        tag = await connection.execute(_DELETE_CHUNKS, tenant_id, row["id"])
        deleted = int(tag.rpartition(" ")[2])
    for start in range(0, len(chunks), _INSERTED_AT_ONCE):
        batch = chunks[start : start + _INSERTED_AT_ONCE]
        await _insert(connection, collection, row["id"], batch, start)
    added, grown = int(row["is_new"]), len(chunks) - deleted
    generation = collection.generation
    if await connection.fetchval(_COUNT, tenant_id, id_, generation, added, grown) is None:
        await _refuse(connection, collection)
    return row


def _row_of(collection: Collection, document: NewDocument, passages: int) -> tuple[object, ...]:
    return (
        collection.tenant_id,
        collection.id,
        storable(document.id),
        storable(document.title),
        storable(document.source),
        orjson.dumps(storable_json(document.metadata)).decode(),
        document.sha256,
        document.characters,
        passages,
    )


async def _insert(
    connection: Connection,
    collection: Collection,
    document: int,
    chunks: Sequence[NewChunk],
    first: int,
) -> None:
    tenant_id, id_ = collection.tenant_id, collection.id
    rows = await connection.fetch(
        _INSERT_CHUNKS,
        tenant_id,
        id_,
        document,
        list(range(first, first + len(chunks))),
        [len(storable(chunk.text[: chunk.overlap])) for chunk in chunks],
        [storable(chunk.text) for chunk in chunks],
    )
    ids = {row["ordinal"] - first: row["id"] for row in rows}
    vectors = {
        ids[place]: HalfVector(chunk.vector)
        for place, chunk in enumerate(chunks)
        if chunk.vector is not None
    }
    if vectors:
        generation = collection.generation
        given = list(vectors), list(vectors.values())
        await connection.execute(_INSERT_VECTORS, tenant_id, id_, document, generation, *given)


async def _refuse(connection: Connection, collection: Collection) -> None:
    """Raises what is the matter with a collection that is not as it was read."""
    row = await connection.fetchrow(_COLLECTION, collection.tenant_id, collection.id)
    if row is None or collection.space is None:
        raise no_collection(collection.name)
    raise mismatch(collection_of(row), collection.space)


def _check_dimensions(collection: Collection, chunks: Sequence[NewChunk]) -> None:
    # One vector of another length would fail every search of the collection.
    wanted = collection.space.dimension if collection.space else 0
    if any(chunk.vector is not None and len(chunk.vector) != wanted for chunk in chunks):
        raise ValueError(f"vectors of `{collection.name}` must have {wanted} dimensions")


def storable_json(value: Json) -> Json:
    """JSON whose strings hold no NUL, which jsonb refuses."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {storable(name): storable_json(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [storable_json(item) for item in value]
    return value
