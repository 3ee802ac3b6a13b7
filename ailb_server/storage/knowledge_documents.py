"""Documents in Postgres, each replaced as a whole."""

from collections.abc import Mapping, Sequence

import asyncpg

from ailb_server.domain.knowledge import Collection, DocumentRecord, NewChunk, NewDocument
from ailb_server.storage.knowledge_collections import PostgresCollections
from ailb_server.storage.knowledge_replacing import Given, check_dimensions, replace_all
from ailb_server.storage.knowledge_rows import (
    DOCUMENT_COLUMNS,
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
        """As `replace_documents`."""
        (stored,) = await self.replace_documents(collection, [(document, chunks)])
        return stored

    async def replace_documents(
        self, collection: Collection, documents: Sequence[Given]
    ) -> Sequence[DocumentRecord]:
        """In one transaction, by id. Raises NotFoundError, EmbeddingMismatchError; ValueError for
        vectors that do not fit."""
        check_dimensions(collection, documents)
        async with self._store.connection() as connection:
            try:
                async with connection.transaction():
                    rows = await replace_all(connection, collection, documents)
            except asyncpg.ForeignKeyViolationError:
                raise no_collection(collection.name) from None
        return [document_of(row) for row in rows]
