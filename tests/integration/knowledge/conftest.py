"""A store of knowledge, and collections in it."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from ailb_server.domain.chat import Json
from ailb_server.domain.context import KnowledgeQuery
from ailb_server.domain.knowledge import (
    Collection,
    DocumentRecord,
    NewChunk,
    NewCollection,
    NewDocument,
    Word,
    WordQuery,
)
from ailb_server.knowledge.cache import ResultCache
from ailb_server.knowledge.retrieval import Found, Retriever
from ailb_server.storage.knowledge_vectors import PostgresKnowledge
from ailb_server.storage.pool import Store
from tests.support.postgres import sql
from tests.support.word_embedder import HashingEmbedder

MINE, OTHER = 1, 2


@dataclass
class Shelf:
    """What a test puts documents into and searches, as one tenant."""

    rows: PostgresKnowledge
    embedder: HashingEmbedder = field(default_factory=HashingEmbedder)
    tenant_id: int = MINE

    async def make(self, name: str = "docs") -> Collection:
        """An empty collection of the embedder's space."""
        new = NewCollection(name, space=self.embedder.space)
        return await self.rows.create_collection(self.tenant_id, new)

    async def put(
        self, collection: Collection, id_: str, *texts: str, **metadata: Json
    ) -> DocumentRecord:
        """A document of these chunks, embedded."""
        vectors = await self.embedder.embed(texts)
        chunks = [NewChunk(text, vector) for text, vector in zip(texts, vectors, strict=True)]
        return await self.rows.replace_document(
            collection, new_document(id_, *texts, **metadata), chunks
        )

    def retriever(
        self, embedder: HashingEmbedder | None = None, *, words_only: bool = False
    ) -> Retriever:
        """One with nothing in its cache."""
        chosen = None if words_only else embedder or self.embedder
        return Retriever(self.rows, chosen, ResultCache(0), embed_timeout_s=0.5)

    async def search(self, text: str, collection: str = "docs", top_k: int = 3) -> Found:
        """Finds passages."""
        query = KnowledgeQuery(collection, text, top_k)
        return await self.retriever().search(self.tenant_id, query)

    async def words(self, text: str, collection: str = "docs") -> list[Word]:
        """What words alone find."""
        found, telling = await self.rows.collection_for(self.tenant_id, collection, text)
        sought = WordQuery(text, 3, telling)
        return list(await self.rows.with_words(found, sought, limit=50, metadata={}))


def new_document(id_: str, *texts: str, **metadata: Json) -> NewDocument:
    """A document of these texts."""
    text = "\n".join(texts)
    return NewDocument(
        id=id_,
        title=f"Title of {id_}",
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        characters=len(text),
        source=f"/docs/{id_}",
        metadata=metadata,
    )


def ids(found: Found) -> Sequence[str]:
    """The documents found, the best first."""
    return [passage.document_id for passage in found.passages]


@pytest.fixture
async def store(migrated_dsn: str) -> AsyncIterator[Store]:
    """Of a database with two tenants, MINE and OTHER."""
    sql(migrated_dsn, "INSERT INTO tenants (name) VALUES ('other')")
    store = Store(migrated_dsn, size=4)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def shelf(store: Store) -> Shelf:
    return Shelf(PostgresKnowledge(store))
