"""The documents of imports as their workers see them: a queue with leases."""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

import orjson

from ailb_server.domain.imports import Claim, Done, GivenDocument, ImportItem, StoredDocument
from ailb_server.storage.connection import Row
from ailb_server.storage.imports import amend, stored_document
from ailb_server.storage.pool import Store

_OPEN = "state IN ('waiting', 'working')"
# A tenant's turn comes after the one whose turn it was, however much that has waiting.
_NEXT_TENANT = f"""
SELECT tenant_id FROM import_items
 WHERE tenant_id > $1 AND {_OPEN} AND due_at <= now() ORDER BY tenant_id LIMIT 1
"""  # noqa: S608
_CLAIM = f"""
WITH ready AS MATERIALIZED (
  SELECT i.id, i.bytes FROM import_items i
   WHERE i.tenant_id = $1 AND i.{_OPEN} AND i.due_at <= now()
     AND NOT EXISTS (SELECT FROM import_items earlier
                      WHERE earlier.tenant_id = $1 AND earlier.{_OPEN}
                        AND earlier.collection_id = i.collection_id
                        AND earlier.document_id = i.document_id AND earlier.id < i.id)
   ORDER BY i.id LIMIT $2 FOR UPDATE SKIP LOCKED
), taken AS (
  SELECT id FROM (SELECT id, sum(bytes) OVER (ORDER BY id) - bytes AS before FROM ready) sums
   WHERE before < $3
)
UPDATE import_items i
   SET state = 'working', worker = $4, due_at = now() + make_interval(secs => $5),
       attempts = attempts + 1
  FROM taken, collections c
 WHERE i.tenant_id = $1 AND i.id = taken.id AND c.tenant_id = $1 AND c.id = i.collection_id
RETURNING i.id, i.tenant_id, i.import_id, i.collection_id, c.name AS collection,
          i.document_id, i.title, i.source, i.metadata, i.sha256, i.content_type, i.content,
          i.attempts
"""  # noqa: S608
# A lease that has most of its time left needs no write, which every stored batch would wait for.
_RENEW = """
WITH own AS (
  SELECT id, due_at > now() + make_interval(secs => 0.7 * $4) AS is_fresh FROM import_items
   WHERE tenant_id = $1 AND worker = $2 AND id = ANY($3) AND state = 'working'
), renewed AS (
  UPDATE import_items i SET due_at = now() + make_interval(secs => $4)
    FROM own WHERE i.id = own.id AND NOT own.is_fresh
     AND i.tenant_id = $1 AND i.worker = $2 AND i.state = 'working'
  RETURNING i.id
)
SELECT id FROM own WHERE is_fresh UNION ALL SELECT id FROM renewed
"""
_RELEASE = """
UPDATE import_items
   SET state = 'waiting', worker = NULL, due_at = now() + make_interval(secs => $4),
       attempts = attempts - $5
 WHERE tenant_id = $1 AND worker = $2 AND id = ANY($3) AND state = 'working'
"""
_FINISH = """
WITH done AS (
  UPDATE import_items i
     SET state = ended.state, reason = ended.reason, content = NULL, worker = NULL
    FROM unnest($4::bigint[], $5::text[], $6::text[], $7::integer[])
         AS ended (id, state, reason, passages)
   WHERE i.tenant_id = $1 AND i.import_id = $2 AND i.worker = $3 AND i.id = ended.id
     AND i.state = 'working'
  RETURNING i.state, ended.passages
), sums AS (
  SELECT count(*) AS documents, coalesce(sum(passages), 0) AS passages,
         count(*) FILTER (WHERE state = 'imported') AS imported,
         count(*) FILTER (WHERE state = 'unchanged') AS unchanged,
         count(*) FILTER (WHERE state = 'failed') AS failed
    FROM done
)
UPDATE imports i
   SET pending = i.pending - sums.documents,
       imported = i.imported + sums.imported,
       unchanged = i.unchanged + sums.unchanged,
       failed = i.failed + sums.failed,
       passages = i.passages + sums.passages,
       finished_at = CASE i.pending WHEN sums.documents THEN now() END
  FROM sums
 WHERE i.tenant_id = $1 AND i.id = $2 AND sums.documents > 0
"""
_STORED = """
SELECT external_id, sha256, title, source, metadata FROM documents
 WHERE tenant_id = $1 AND collection_id = $2 AND external_id = ANY($3)
"""


class PostgresImportItems:
    """Every method raises StorageUnavailableError in an outage."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def next_tenant(self, after: int) -> int | None:
        """The first tenant beyond `after` that has work due."""
        async with self._store.connection() as connection:
            found: int | None = await connection.fetchval(_NEXT_TENANT, after)
        return found

    async def claim(self, tenant_id: int, claim: Claim) -> Sequence[ImportItem]:
        """Takes up the tenant's oldest due documents, one version of each."""
        async with self._store.connection() as connection:
            rows = await connection.fetch(
                _CLAIM, tenant_id, claim.documents, claim.bytes, claim.worker, claim.lease_s
            )
        return sorted((_item(row) for row in rows), key=lambda item: item.id)

    async def renew(
        self, tenant_id: int, worker: UUID, ids: Collection[int], lease_s: float
    ) -> set[int]:
        """Keeps those of `ids` that are still the worker's, and returns them."""
        async with self._store.connection() as connection:
            rows = await connection.fetch(_RENEW, tenant_id, worker, list(ids), lease_s)
        return {row["id"] for row in rows}

    async def release(
        self,
        tenant_id: int,
        worker: UUID,
        ids: Collection[int],
        *,
        delay_s: float,
        tried: bool,
    ) -> None:
        """Lets others take them up, after `delay_s`; `tried`: it counts as an attempt."""
        async with self._store.connection() as connection:
            await connection.execute(
                _RELEASE, tenant_id, worker, list(ids), delay_s, 0 if tried else 1
            )

    async def finish(self, worker: UUID, done: Mapping[ImportItem, Done]) -> None:
        """Ends the work on them, but for those that are no longer the worker's."""
        # Each import by itself: two that lock several would wait for each other.
        for tenant_id, import_id in {(item.tenant_id, item.import_id) for item in done}:
            own = [(item.id, end) for item, end in done.items() if item.import_id == import_id]
            async with self._store.connection() as connection:
                await connection.execute(
                    _FINISH,
                    tenant_id,
                    import_id,
                    worker,
                    [id_ for id_, _ in own],
                    [end.outcome for _, end in own],
                    [end.reason for _, end in own],
                    [end.passages for _, end in own],
                )

    async def stored(self, items: Sequence[ImportItem]) -> Mapping[int, StoredDocument]:
        """What their one collection has under their documents' ids, by the item's id."""
        by_document = {item.document.id: item.id for item in items}
        of = items[0]
        async with self._store.connection() as connection:
            rows = await connection.fetch(
                _STORED, of.tenant_id, of.collection_id, list(by_document)
            )
        return {by_document[row["external_id"]]: stored_document(row) for row in rows}

    async def amend(self, item: ImportItem) -> None:
        """Stores what is new about a document whose content is not."""
        async with self._store.connection() as connection, connection.transaction():
            await amend(connection, item.tenant_id, item.collection_id, [item.document])


def _item(row: Row) -> ImportItem:
    document = GivenDocument(
        id=row["document_id"],
        content=row["content"],
        content_type=row["content_type"],
        sha256=row["sha256"],
        title=row["title"],
        source=row["source"],
        metadata=orjson.loads(row["metadata"]),
    )
    return ImportItem(
        id=row["id"],
        tenant_id=row["tenant_id"],
        import_id=row["import_id"],
        collection_id=row["collection_id"],
        collection=row["collection"],
        document=document,
        attempts=row["attempts"],
    )
