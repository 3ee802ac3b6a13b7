"""Searches of one collection: by words, by vector, and the text of what was found."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson
from pgvector import HalfVector

from ailb_server.domain.chat import Json
from ailb_server.domain.embedding import Vector
from ailb_server.domain.knowledge import (
    Collection,
    Near,
    StoredChunk,
    TellingWords,
    Word,
    WordQuery,
)
from ailb_server.storage.connection import Connection, Connections, Row
from ailb_server.storage.knowledge_documents import PostgresDocuments
from ailb_server.storage.knowledge_nearest import EXACT_UP_TO, MATCHING, nearest, similarities
from ailb_server.storage.knowledge_rows import (
    COLLECTION_COLUMNS,
    collection_of,
    json_object,
    no_collection,
    storable,
    storable_json,
)
from ailb_server.storage.knowledge_words import WordShares, quoted, with_words

_COLLECTION_FOR = f"""
SELECT {COLLECTION_COLUMNS}, tsvector_to_array(to_tsvector('english', $3)) AS lexemes
  FROM collections WHERE tenant_id = $1 AND name = $2
"""  # noqa: S608
_CHUNKS = """
SELECT k.id, k.ordinal, k.overlap, k.text, d.external_id, d.title, d.source, d.metadata
  FROM chunks k JOIN documents d ON d.id = k.document_id
 WHERE d.tenant_id = $1 AND d.collection_id = $2 AND k.id = ANY($3::bigint[])
"""


class PostgresSearch(PostgresDocuments):
    """What retrieval asks; errors as in `knowledge.ports`."""

    def __init__(self, store: Connections, word_shares: WordShares | None = None) -> None:
        super().__init__(store)
        self._word_shares = word_shares or WordShares()

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator["PostgresSearch"]:
        """See `knowledge.ports.SearchStore`."""
        async with self._store.connection() as connection, connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield PostgresSearch(_One(connection), self._word_shares)

    async def collection_for(
        self, tenant_id: int, name: str, text: str
    ) -> tuple[Collection, TellingWords]:
        """See `knowledge.ports.SearchStore`."""
        async with self._store.connection() as connection:
            row = await connection.fetchrow(
                _COLLECTION_FOR, tenant_id, storable(name), storable(text)
            )
            if row is None:
                raise no_collection(name)
            collection, lexemes = collection_of(row), row["lexemes"]
            passages = collection.passage_count
            return collection, await self._word_shares.rarest(connection, lexemes, passages)

    async def with_words(
        self,
        collection: Collection,
        sought: WordQuery,
        *,
        limit: int,
        metadata: Mapping[str, Json],
    ) -> Sequence[Word]:
        """See `knowledge.ports.SearchStore`."""
        narrowed = _filter(metadata)
        async with self._store.connection() as connection:
            rows = await connection.fetch(
                with_words(filtered=bool(narrowed)),
                collection.tenant_id,
                collection.id,
                storable(sought.text),
                limit,
                sought.enough,
                [quoted(stem) for stem in sought.telling.stems],
                float(collection.passage_count),
                sought.telling.others,
                sought.share,
                *narrowed,
            )
        return [Word(row["id"], row["document_id"], row["ordinal"]) for row in rows]

    async def nearest(
        self, collection: Collection, vector: Vector, *, limit: int, metadata: Mapping[str, Json]
    ) -> Sequence[Near]:
        """See `knowledge.ports.SearchStore`."""
        narrowed = _filter(metadata)
        ids = collection.tenant_id, collection.id
        given = (*ids, HalfVector(vector), limit, *narrowed)
        async with self._store.connection() as connection:
            matching = await connection.fetchval(MATCHING, *ids, *narrowed) if narrowed else None
            rows: Sequence[Row] = ()
            if matching is None or matching > EXACT_UP_TO:
                sql = nearest(collection, len(vector), filtered=bool(narrowed), exact=False)
                rows = await connection.fetch(sql, *given)
            if matching is not None and len(rows) < min(limit, matching):
                sql = nearest(collection, len(vector), filtered=True, exact=True)
                rows = await connection.fetch(sql, *given)
        return [Near(r["id"], r["document_id"], r["ordinal"], r["similarity"]) for r in rows]

    async def similarities(
        self, collection: Collection, vector: Vector, ids: Sequence[int]
    ) -> Mapping[int, float]:
        """See `knowledge.ports.SearchStore`."""
        given = collection.tenant_id, collection.id, HalfVector(vector), list(ids)
        async with self._store.connection() as connection:
            rows = await connection.fetch(similarities(collection, len(vector)), *given)
        return {row["chunk_id"]: row["similarity"] for row in rows}

    async def chunks(self, collection: Collection, ids: Sequence[int]) -> Sequence[StoredChunk]:
        """See `knowledge.ports.SearchStore`."""
        async with self._store.connection() as connection:
            rows = await connection.fetch(_CHUNKS, collection.tenant_id, collection.id, list(ids))
        return [_stored(row) for row in rows]


@dataclass(frozen=True, slots=True)
class _One:
    """A pool of the one connection whose transaction is open."""

    one: Connection
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """The one, to one at a time."""
        async with self.turn:
            yield self.one


def _filter(metadata: Mapping[str, Json]) -> tuple[str, ...]:
    """The parameter that a filter is, if there is one."""
    return (orjson.dumps(storable_json(metadata)).decode(),) if metadata else ()


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
