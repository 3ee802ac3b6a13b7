"""The statements that put documents in the place of others, several at once."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeAlias

import orjson
from pgvector import HalfVector

from ailb_server.domain.knowledge import Collection, NewChunk, NewDocument, mismatch
from ailb_server.storage.connection import Connection, Row
from ailb_server.storage.knowledge_rows import (
    COLLECTION_COLUMNS,
    DOCUMENT_COLUMNS,
    collection_of,
    no_collection,
    storable,
    storable_json,
)

Given: TypeAlias = tuple[NewDocument, Sequence[NewChunk]]
# A document's row, and a chunk's place in it.
_Placed: TypeAlias = tuple[int, int, NewChunk]

# Nothing is written to another tenant's collection: there is no row to select. It is locked first,
# as by `delete_collection`, or the two would wait for each other; documents are in order, so that
# two of these do not.
_UPSERT = f"""
INSERT INTO documents (tenant_id, collection_id, external_id, title, source, metadata, sha256,
                       characters, passage_count)
SELECT c.tenant_id, c.id, d.external_id, d.title, d.source, d.metadata::jsonb, d.sha256,
       d.characters, d.passages
  FROM (SELECT tenant_id, id FROM collections WHERE tenant_id = $1 AND id = $2 FOR KEY SHARE) c,
       unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::integer[],
              $9::integer[])
         AS d (external_id, title, source, metadata, sha256, characters, passages)
 ORDER BY d.external_id
ON CONFLICT (collection_id, external_id) DO UPDATE
   SET title = EXCLUDED.title, source = EXCLUDED.source, metadata = EXCLUDED.metadata,
       sha256 = EXCLUDED.sha256, characters = EXCLUDED.characters,
       passage_count = EXCLUDED.passage_count, updated_at = now()
RETURNING id, xmax = 0 AS is_new, {DOCUMENT_COLUMNS}
"""  # noqa: S608
_DELETE_CHUNKS = """
DELETE FROM chunks
 WHERE document_id IN (SELECT id FROM documents WHERE tenant_id = $1 AND id = ANY($2))
"""
_INSERT_CHUNKS = """
INSERT INTO chunks (collection_id, document_id, ordinal, overlap, text)
SELECT $2, d.id, c.ordinal, c.overlap, c.text
  FROM unnest($3::bigint[], $4::integer[], $5::integer[], $6::text[])
         AS c (document_id, ordinal, overlap, text)
  JOIN documents d ON d.tenant_id = $1 AND d.id = c.document_id
RETURNING id, document_id, ordinal
"""
_INSERT_VECTORS = """
INSERT INTO chunk_vectors (chunk_id, generation, collection_id, document_id, embedding)
SELECT v.chunk_id, $3, $2, d.id, v.embedding
  FROM unnest($4::bigint[], $5::bigint[], $6::halfvec[]) AS v (document_id, chunk_id, embedding)
  JOIN documents d ON d.tenant_id = $1 AND d.id = v.document_id
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
_COLLECTION = f"SELECT {COLLECTION_COLUMNS} FROM collections WHERE tenant_id = $1 AND id = $2"  # noqa: S608
# The event loop encodes them, at some 30 microseconds each; and with an HNSW index a row takes some
# 2 ms: a statement stays well within the pool's timeout.
_INSERTED_AT_ONCE = 128


async def replace_all(
    connection: Connection, collection: Collection, documents: Sequence[Given]
) -> Sequence[Row]:
    """Rows of DOCUMENT_COLUMNS, by id. To be called in a transaction.

    Raises NotFoundError, EmbeddingMismatchError.
    """
    if not documents:
        return ()
    tenant_id, id_ = collection.tenant_id, collection.id
    rows = await connection.fetch(_UPSERT, tenant_id, id_, *_columns(documents))
    if not rows:
        raise no_collection(collection.name)
    deleted = 0
    if old := [row["id"] for row in rows if not row["is_new"]]:
        tag = await connection.execute(_DELETE_CHUNKS, tenant_id, old)
        deleted = int(tag.rpartition(" ")[2])
    placed = _placed(documents, {row["external_id"]: row["id"] for row in rows})
    while batch := list(islice(placed, _INSERTED_AT_ONCE)):
        await _insert(connection, collection, batch)
    added = len(rows) - len(old)
    grown = sum(len(chunks) for _, chunks in documents) - deleted
    generation = collection.generation
    if await connection.fetchval(_COUNT, tenant_id, id_, generation, added, grown) is None:
        await _refuse(connection, collection)
    return rows


def check_dimensions(collection: Collection, documents: Sequence[Given]) -> None:
    """Raises ValueError: one vector of another length would fail every search of the collection."""
    wanted = collection.space.dimension if collection.space else 0
    for _, chunks in documents:
        if any(chunk.vector is not None and len(chunk.vector) != wanted for chunk in chunks):
            raise ValueError(f"vectors of `{collection.name}` must have {wanted} dimensions")


def _columns(documents: Sequence[Given]) -> Iterator[list[object]]:
    rows = ((*_row_of(document), len(chunks)) for document, chunks in documents)
    return map(list, zip(*rows, strict=True))


def _row_of(document: NewDocument) -> tuple[object, ...]:
    return (
        storable(document.id),
        storable(document.title),
        storable(document.source),
        orjson.dumps(storable_json(document.metadata)).decode(),
        document.sha256,
        document.characters,
    )


def _placed(documents: Sequence[Given], rows: Mapping[str, int]) -> Iterator[_Placed]:
    for document, chunks in documents:
        row = rows[storable(document.id)]
        for ordinal, chunk in enumerate(chunks):
            yield row, ordinal, chunk


async def _insert(
    connection: Connection, collection: Collection, placed: Sequence[_Placed]
) -> None:
    tenant_id, id_ = collection.tenant_id, collection.id
    rows = await connection.fetch(
        _INSERT_CHUNKS,
        tenant_id,
        id_,
        [row for row, _, _ in placed],
        [ordinal for _, ordinal, _ in placed],
        [len(storable(chunk.text[: chunk.overlap])) for _, _, chunk in placed],
        [storable(chunk.text) for _, _, chunk in placed],
    )
    ids = {(row["document_id"], row["ordinal"]): row["id"] for row in rows}
    vectors = [
        (row, ids[row, ordinal], HalfVector(chunk.vector))
        for row, ordinal, chunk in placed
        if chunk.vector is not None
    ]
    if vectors:
        given = map(list, zip(*vectors, strict=True))
        await connection.execute(_INSERT_VECTORS, tenant_id, id_, collection.generation, *given)


async def _refuse(connection: Connection, collection: Collection) -> None:
    """Raises what is the matter with a collection that is not as it was read."""
    row = await connection.fetchrow(_COLLECTION, collection.tenant_id, collection.id)
    if row is None or collection.space is None:
        raise no_collection(collection.name)
    raise mismatch(collection_of(row), collection.space)
