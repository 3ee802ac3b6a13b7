"""Imports as their callers see them: taken in, told of, removed."""

from collections.abc import Sequence
from uuid import UUID

import orjson

from ailb_server.domain.errors import NotFoundError, OverloadedError
from ailb_server.domain.imports import (
    Backlog,
    GivenDocument,
    ImportFailure,
    ImportStatus,
    StoredDocument,
    sort_out,
)
from ailb_server.storage.connection import Connection, Row
from ailb_server.storage.pool import Store

_LOCK = 0x41494C49
_RETRY_AFTER_S = 5.0
_FAILURES_TOLD = 100
# Until the end of the transaction: what waits is counted, and compared, by one at a time.
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock($2, $1)"
_BACKLOG = """
SELECT count(*) AS documents, coalesce(sum(bytes), 0) AS bytes FROM import_items
 WHERE tenant_id = $1 AND state IN ('waiting', 'working')
"""
_PENDING = """
SELECT DISTINCT document_id FROM import_items
 WHERE tenant_id = $1 AND collection_id = $2 AND document_id = ANY($3)
   AND state IN ('waiting', 'working')
"""
_STORED = """
SELECT external_id, sha256, title, source, metadata FROM documents
 WHERE tenant_id = $1 AND collection_id = $2 AND external_id = ANY($3)
"""
_AMEND = """
UPDATE documents d
   SET title = CASE g.title WHEN '' THEN d.title ELSE g.title END, source = g.source,
       metadata = g.metadata::jsonb, updated_at = now()
  FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
       AS g (external_id, sha256, title, source, metadata)
 WHERE d.tenant_id = $1 AND d.collection_id = $2 AND d.external_id = g.external_id
   AND d.sha256 = g.sha256
"""
_CHANGED = """
UPDATE collections SET version = version + 1, updated_at = now() WHERE tenant_id = $1 AND id = $2
"""
_INSERT = """
INSERT INTO imports (tenant_id, collection_id, total, pending, unchanged, finished_at)
SELECT tenant_id, id, $3, $4::integer, $5, CASE $4::integer WHEN 0 THEN now() END
  FROM collections WHERE tenant_id = $1 AND id = $2 FOR KEY SHARE
RETURNING id
"""
_COLUMNS = (
    *("tenant_id", "import_id", "collection_id", "document_id", "title", "source", "metadata"),
    *("sha256", "content_type", "content", "bytes"),
)
_STATUS = """
SELECT i.id, c.name AS collection, i.total, i.imported, i.unchanged, i.failed, i.passages,
       i.created_at, i.finished_at
  FROM imports i JOIN collections c ON c.id = i.collection_id
 WHERE i.tenant_id = $1 AND i.id = $2
"""
_FAILURES = """
SELECT document_id, reason FROM import_items
 WHERE tenant_id = $1 AND import_id = $2 AND state = 'failed' ORDER BY id LIMIT $3
"""
# Of all tenants.
_REMOVE = """
DELETE FROM imports WHERE (tenant_id, id) IN (
  SELECT tenant_id, id FROM imports
   WHERE finished_at < now() - make_interval(days => $1)
   ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED)
"""


class PostgresImports:
    """The imports of tenants. Every method raises StorageUnavailableError in an outage."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def accept(
        self,
        tenant_id: int,
        collection_id: int,
        documents: Sequence[GivenDocument],
        bound: Backlog,
    ) -> ImportStatus:
        """An import of `documents`, whose ids differ. What is unchanged is counted at once, and
        what is new about it stored.

        Raises OverloadedError if the tenant would have more waiting than `bound`, NotFoundError if
        the collection is gone.
        """
        async with self._store.connection() as connection, connection.transaction():
            await connection.execute(_ONE_AT_A_TIME, tenant_id, _LOCK)
            ids = [document.id for document in documents]
            # In this order: what ends in between is then taken for pending, which is only work.
            pending = await connection.fetch(_PENDING, tenant_id, collection_id, ids)
            stored = await connection.fetch(_STORED, tenant_id, collection_id, ids)
            found = sort_out(
                documents,
                {row["external_id"]: stored_document(row) for row in stored},
                {row["document_id"] for row in pending},
            )
            if found.work:
                await _check_backlog(connection, tenant_id, found.work, bound)
            await amend(connection, tenant_id, collection_id, found.amended)
            counts = (len(documents), len(found.work), found.unchanged)
            id_ = await connection.fetchval(_INSERT, tenant_id, collection_id, *counts)
            if id_ is None:
                raise NotFoundError("The collection is gone.", param="collection")
            rows = (_row(tenant_id, collection_id, id_, document) for document in found.work)
            await connection.copy_records_to_table("import_items", records=rows, columns=_COLUMNS)
            return await _status(connection, tenant_id, id_)

    async def status(self, tenant_id: int, import_id: str) -> ImportStatus:
        """Raises NotFoundError."""
        try:
            id_ = UUID(import_id)
        except ValueError:
            raise _no_import(import_id) from None
        async with self._store.connection() as connection:
            return await _status(connection, tenant_id, id_)

    async def remove_old(self, days: int, limit: int) -> int:
        """Removes at most `limit` imports that finished so long ago; returns how many."""
        async with self._store.connection() as connection:
            tag = await connection.execute(_REMOVE, days, limit)
        return int(tag.rpartition(" ")[2])


async def amend(
    connection: Connection,
    tenant_id: int,
    collection_id: int,
    documents: Sequence[GivenDocument],
) -> None:
    """Stores what is new about documents whose content is not."""
    if not documents:
        return
    columns = (
        [document.id for document in documents],
        [document.sha256 for document in documents],
        [document.title for document in documents],
        [document.source for document in documents],
        [metadata_text(document) for document in documents],
    )
    await connection.execute(_AMEND, tenant_id, collection_id, *columns)
    await connection.execute(_CHANGED, tenant_id, collection_id)


def stored_document(row: Row) -> StoredDocument:
    """A row with these columns of `documents`."""
    return StoredDocument(row["sha256"], row["title"], row["source"], orjson.loads(row["metadata"]))


def metadata_text(document: GivenDocument) -> str:
    """For a column of jsonb, which asyncpg takes as text."""
    return orjson.dumps(document.metadata).decode()


async def _check_backlog(
    connection: Connection, tenant_id: int, work: Sequence[GivenDocument], bound: Backlog
) -> None:
    row = await connection.fetchrow(_BACKLOG, tenant_id)
    documents, size = (row["documents"], row["bytes"]) if row else (0, 0)
    if not documents:
        # One request is never too much, or it could not be sent at all.
        return
    size += sum(len(document.content) for document in work)
    if documents + len(work) > bound.documents or size > bound.bytes:
        raise OverloadedError(
            f"{documents} documents wait to be imported already. Send more when they are done.",
            retry_after_s=_RETRY_AFTER_S,
        )


def _row(
    tenant_id: int, collection_id: int, import_id: UUID, document: GivenDocument
) -> tuple[object, ...]:
    return (
        tenant_id,
        import_id,
        collection_id,
        document.id,
        document.title,
        document.source,
        metadata_text(document),
        document.sha256,
        document.content_type,
        document.content,
        len(document.content),
    )


async def _status(connection: Connection, tenant_id: int, import_id: UUID) -> ImportStatus:
    row = await connection.fetchrow(_STATUS, tenant_id, import_id)
    if row is None:
        raise _no_import(str(import_id))
    failures: Sequence[Row] = ()
    if row["failed"]:
        failures = await connection.fetch(_FAILURES, tenant_id, import_id, _FAILURES_TOLD)
    return ImportStatus(
        id=str(row["id"]),
        collection=row["collection"],
        total=row["total"],
        imported=row["imported"],
        unchanged=row["unchanged"],
        failed=row["failed"],
        passages=row["passages"],
        created_at=row["created_at"],
        finished_at=row["finished_at"],
        failures=tuple(ImportFailure(f["document_id"], f["reason"]) for f in failures),
    )


def _no_import(import_id: str) -> NotFoundError:
    return NotFoundError(f"There is no import `{import_id[:64]}`.", param="import_id")
