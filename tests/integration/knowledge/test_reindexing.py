"""A collection embedded anew: searches go on, what breaks off goes on, the swap is at once."""

import pytest

from ailb_server.domain.context import KnowledgeQuery
from ailb_server.domain.embedding import EmbeddingSpace
from ailb_server.domain.errors import EmbedderUnavailableError, EmbeddingMismatchError
from ailb_server.domain.knowledge import Collection, NewChunk, NewCollection
from ailb_server.knowledge.reindexing import Progress, Reindexing
from ailb_server.storage.knowledge_indexes import IndexRules, VectorIndexes
from ailb_server.storage.pool import Store
from tests.integration.knowledge.conftest import MINE, Shelf, ids, new_document
from tests.support.postgres import sql
from tests.support.word_embedder import HashingEmbedder

NEWER = EmbeddingSpace("newer", 32)
CHUNKS = 150


@pytest.fixture
async def docs(shelf: Shelf) -> Collection:
    made = await shelf.make()
    await shelf.put(made, "a", *(f"word{n} and word{n + 1}" for n in range(CHUNKS)))
    await shelf.put(made, "b", "apple")
    return await shelf.rows.collection(MINE, "docs")


def reindexing(
    shelf: Shelf, store: Store, dsn: str, embedder: HashingEmbedder | None
) -> Reindexing:
    indexes = VectorIndexes(store, dsn, IndexRules(made_above=100, dropped_below=50))

    async def no_wait(_seconds: float) -> None:
        """Nothing to wait for."""

    return Reindexing(shelf.rows, embedder, indexes, no_wait)


async def test_the_new_model_serves_once_all_is_embedded(
    shelf: Shelf, store: Store, docs: Collection, migrated_dsn: str
) -> None:
    newer = HashingEmbedder(NEWER)
    apple = KnowledgeQuery("docs", "apple", 1)
    told: list[Progress] = []
    async for progress in reindexing(shelf, store, migrated_dsn, newer).run(MINE, "docs"):
        told.append(progress)
        if progress.done < progress.total:
            # The former model's vectors serve whoever still has it; the newer go by words.
            old = await shelf.retriever().search(MINE, apple)
            assert (ids(old), old.degraded) == (["b"], False)
            new = await shelf.retriever(newer).search(MINE, apple)
            assert (ids(new), new.degraded) == (["b"], True)
    assert told[0] == Progress(0, CHUNKS + 1)
    assert told[-1] == Progress(CHUNKS + 1, CHUNKS + 1)
    assert [p.done for p in told] == sorted(p.done for p in told)
    now = await shelf.rows.collection(MINE, "docs")
    assert (now.space, now.next_space, now.version) == (NEWER, None, docs.version + 1)
    found = await shelf.retriever(newer).search(MINE, apple)
    assert (ids(found), found.degraded) == (["b"], False)
    assert found.passages[0].similarity == pytest.approx(1, abs=1e-3)
    with pytest.raises(EmbeddingMismatchError):
        await shelf.retriever().search(MINE, apple)
    # Its index was there before it served.
    assert sql(migrated_dsn, f"SELECT 'chunk_vectors_hnsw_{docs.id}_2'::regclass") != ""


async def test_the_old_vectors_go_when_nobody_can_be_reading_them(
    shelf: Shelf, store: Store, docs: Collection, migrated_dsn: str
) -> None:
    newer = HashingEmbedder(NEWER)
    async for _ in reindexing(shelf, store, migrated_dsn, newer).run(MINE, "docs"):
        pass
    indexes = VectorIndexes(store, migrated_dsn)
    old = "SELECT count(*) FROM chunk_vectors WHERE generation = 1"
    await indexes.tend()
    assert sql(migrated_dsn, old) == str(CHUNKS + 1)
    sql(migrated_dsn, "UPDATE collections SET updated_at = now() - interval '2 minutes'")
    await indexes.tend()
    assert sql(migrated_dsn, old) == "0"
    assert sql(migrated_dsn, "SELECT count(*) FROM chunk_vectors") == str(CHUNKS + 1)


async def test_what_broke_off_goes_on_where_it_was(
    shelf: Shelf, store: Store, docs: Collection, migrated_dsn: str
) -> None:
    newer = HashingEmbedder(NEWER)
    with pytest.raises(EmbedderUnavailableError):
        async for progress in reindexing(shelf, store, migrated_dsn, newer).run(MINE, "docs"):
            newer.fails = progress.done > 0
    first = len(newer.texts)
    assert 0 < first < CHUNKS
    newer.fails = False
    run = reindexing(shelf, store, migrated_dsn, newer).run(MINE, "docs")
    told = [progress async for progress in run]
    assert told[0].done == first
    assert len(newer.texts) == CHUNKS + 1


async def test_a_third_model_begins_anew(
    shelf: Shelf, store: Store, docs: Collection, migrated_dsn: str
) -> None:
    newer, third = HashingEmbedder(NEWER), HashingEmbedder(EmbeddingSpace("third", 16))
    run = reindexing(shelf, store, migrated_dsn, newer).run(MINE, "docs")
    await anext(run)
    await anext(run)
    async for _ in reindexing(shelf, store, migrated_dsn, third).run(MINE, "docs"):
        pass
    with pytest.raises(EmbeddingMismatchError):
        async for _ in run:
            pass
    assert (await shelf.rows.collection(MINE, "docs")).space == third.space
    lengths = "SELECT DISTINCT vector_dims(embedding) FROM chunk_vectors WHERE generation = 2"
    assert sql(migrated_dsn, lengths) == "16"


async def test_what_has_no_vector_yet_gets_one(
    shelf: Shelf, store: Store, migrated_dsn: str
) -> None:
    docs = await shelf.rows.create_collection(MINE, NewCollection("docs"))
    await shelf.rows.replace_document(docs, new_document("a", "apple"), [NewChunk("apple")])
    async for _ in reindexing(shelf, store, migrated_dsn, shelf.embedder).run(MINE, "docs"):
        pass
    found = await shelf.search("apple")
    assert found.passages[0].similarity == pytest.approx(1, abs=1e-3)


async def test_an_import_of_the_former_model_is_refused_after_the_swap(
    shelf: Shelf, store: Store, docs: Collection, migrated_dsn: str
) -> None:
    newer = HashingEmbedder(NEWER)
    async for _ in reindexing(shelf, store, migrated_dsn, newer).run(MINE, "docs"):
        pass
    with pytest.raises(EmbeddingMismatchError):
        await shelf.put(docs, "c", "late")
    assert (await shelf.rows.collection(MINE, "docs")).document_count == 2


async def test_without_embedder_it_is_refused(
    shelf: Shelf, store: Store, docs: Collection, migrated_dsn: str
) -> None:
    for embedder in (None, HashingEmbedder(space=None)):
        with pytest.raises(EmbedderUnavailableError):
            await anext(reindexing(shelf, store, migrated_dsn, embedder).run(MINE, "docs"))
