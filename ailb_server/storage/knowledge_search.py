"""Searches of one collection: by words, by vector, and the text of what was found."""

from collections.abc import Mapping, Sequence

import orjson
from pgvector import HalfVector

from ailb_server.domain.chat import Json
from ailb_server.domain.embedding import Vector
from ailb_server.domain.knowledge import Collection, Near, StoredChunk, Word
from ailb_server.storage.connection import Connection, Row
from ailb_server.storage.knowledge_documents import PostgresDocuments, storable_json
from ailb_server.storage.knowledge_nearest import EXACT_UP_TO, MATCHING, nearest
from ailb_server.storage.knowledge_rows import json_object, storable
from ailb_server.storage.knowledge_words import LEXEMES, WordShares, all_words, any_word, quoted
from ailb_server.storage.pool import Store

_CHUNKS = """
SELECT k.id, k.ordinal, k.overlap, k.text, d.external_id, d.title, d.source, d.metadata
  FROM chunks k JOIN documents d ON d.id = k.document_id
 WHERE d.tenant_id = $1 AND d.collection_id = $2 AND k.id = ANY($3::bigint[])
"""


class PostgresSearch(PostgresDocuments):
    """What retrieval asks; errors as in `knowledge.ports`."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._word_shares = WordShares()

    async def with_words(
        self,
        collection: Collection,
        text: str,
        *,
        limit: int,
        enough: int,
        metadata: Mapping[str, Json],
    ) -> Sequence[Word]:
        """See `knowledge.ports.SearchStore`."""
        narrowed = _filter(metadata)
        ids = collection.tenant_id, collection.id
        async with self._store.connection() as connection:
            rows = await connection.fetch(
                all_words(filtered=bool(narrowed)), *ids, storable(text), limit, *narrowed
            )
            words = [_word(row) for row in rows]
            if len(words) >= enough:
                return words
            lexemes = await self._telling(connection, text, collection.passage_count)
            if not lexemes:
                return words
            passages = float(collection.passage_count)
            rows = await connection.fetch(
                any_word(filtered=bool(narrowed)), *ids, lexemes, limit, passages, *narrowed
            )
        known = {word.chunk_id for word in words}
        return [*words, *(_word(row) for row in rows if row["id"] not in known)][:limit]

    async def nearest(
        self,
        collection: Collection,
        vector: Vector,
        *,
        limit: int,
        named: Sequence[int],
        metadata: Mapping[str, Json],
    ) -> tuple[Sequence[Near], Sequence[Near]]:
        """See `knowledge.ports.SearchStore`."""
        narrowed = _filter(metadata)
        ids = collection.tenant_id, collection.id
        given = (*ids, HalfVector(vector), limit, list(named), *narrowed)
        async with self._store.connection() as connection:
            matching = await connection.fetchval(MATCHING, *ids, *narrowed) if narrowed else None
            rows: Sequence[Row] = ()
            if matching is None or matching > EXACT_UP_TO:
                sql = nearest(collection, len(vector), filtered=bool(narrowed), exact=False)
                rows = await connection.fetch(sql, *given)
            found = sum(row["nearest"] for row in rows)
            if matching is not None and found < min(limit, matching):
                sql = nearest(collection, len(vector), filtered=True, exact=True)
                rows = await connection.fetch(sql, *given)
        return (
            [_near(row) for row in rows if row["nearest"]],
            [_near(row) for row in rows if not row["nearest"]],
        )

    async def chunks(self, collection: Collection, ids: Sequence[int]) -> Sequence[StoredChunk]:
        """See `knowledge.ports.SearchStore`."""
        async with self._store.connection() as connection:
            rows = await connection.fetch(_CHUNKS, collection.tenant_id, collection.id, list(ids))
        return [_stored(row) for row in rows]

    async def _telling(self, connection: Connection, text: str, passages: int) -> Sequence[str]:
        lexemes = await connection.fetchval(LEXEMES, storable(text))
        chosen = await self._word_shares.rarest(connection, lexemes, passages)
        return [quoted(lexeme) for lexeme in chosen]


def _filter(metadata: Mapping[str, Json]) -> tuple[str, ...]:
    """The parameter that a filter is, if there is one."""
    return (orjson.dumps(storable_json(metadata)).decode(),) if metadata else ()


def _word(row: Row) -> Word:
    return Word(row["id"], row["document_id"], row["ordinal"])


def _near(row: Row) -> Near:
    return Near(row["id"], row["document_id"], row["ordinal"], row["similarity"])


def _stored(row: Row) -> StoredChunk:
    return StoredChunk(
        chunk_id=row["id"],
        ordinal=row["ordinal"],
        overlap=row["overlap"],
        text=row["text"],
        document_id=row["external_id"],
        title=row["title"],
        source=row["source"],
        metadata=json_object(row["metadata"]),
    )
