"""Documents that are stored in one transaction."""

from dataclasses import replace
from uuid import uuid4

import asyncpg
import numpy as np
import pytest

from ailb_server.domain.embedding import EmbeddingSpace
from ailb_server.domain.errors import EmbeddingMismatchError
from ailb_server.domain.imports import Claim
from ailb_server.domain.knowledge import NewChunk, NewDocument
from ailb_server.domain.principal import ANYONE
from ailb_server.storage.pool import Store
from tests.support.importing import FakeEmbedder, Instance, text


@pytest.fixture
async def instance(store: Store) -> Instance:
    made = Instance(store, FakeEmbedder())
    await made.collection()
    return made


async def stored(store: Store) -> dict[str, list[str]]:
    """Documents' passages by id, in order."""
    query = (
        "SELECT d.external_id, array_agg(k.text ORDER BY k.ordinal) AS texts FROM documents d"
        " JOIN chunks k ON k.document_id = d.id GROUP BY 1 ORDER BY 1"
    )
    async with store.connection() as connection:
        return {row["external_id"]: row["texts"] for row in await connection.fetch(query)}


async def test_a_document_that_cannot_be_stored_does_not_keep_others_from_it(
    store: Store, instance: Instance
) -> None:
    async with store.connection() as connection:
        await connection.execute(
            "ALTER TABLE documents ADD CONSTRAINT unlucky CHECK (external_id <> 'bad')"
        )
    started = await instance.start(*(text(name) for name in ("a", "bad", "c")))
    worker = uuid4()
    items = await instance.items.claim(1, Claim(worker, 10, 1 << 20, lease_s=60))
    with pytest.raises(asyncpg.CheckViolationError):
        await instance.group.run(worker, items)
    await instance.extraction.close()
    assert (await instance.importing.status(ANYONE, started.id)).imported == 2
    assert await stored(store) == {"a": ["Some words."], "c": ["Some words."]}


async def test_documents_are_stored_together_or_not_at_all(
    store: Store, instance: Instance
) -> None:
    docs = await instance.knowledge.collection(1, "docs")
    docs = await instance.knowledge.adopt_space(docs, EmbeddingSpace("fake", 2))
    vector = np.array([1, 0], dtype=np.float32)

    def new(id_: str, sha256: str) -> NewDocument:
        return NewDocument(id_, id_, 64 * sha256, characters=1)

    old = [(new(id_, "1"), [NewChunk(f"{id_} {n}", vector) for n in range(3)]) for id_ in "cab"]
    await instance.knowledge.replace_documents(docs, old)
    bare = (new("b", "2"), [NewChunk("b new")])
    more = (new("d", "2"), [NewChunk("d 0", vector), NewChunk("d 1", vector)])
    await instance.knowledge.replace_documents(docs, [more, bare])
    now = await instance.knowledge.collection(1, "docs")
    assert (now.document_count, now.passage_count, now.version) == (4, 9, docs.version + 2)
    found = await stored(store)
    assert list(found) == ["a", "b", "c", "d"]
    assert (found["b"], found["d"]) == (["b new"], ["d 0", "d 1"])
    with pytest.raises(EmbeddingMismatchError):
        await instance.knowledge.replace_documents(
            replace(docs, generation=docs.generation + 1), [(new("e", "3"), []), bare]
        )
    assert await stored(store) == found
    async with store.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM chunk_vectors") == 8
