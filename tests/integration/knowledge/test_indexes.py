"""HNSW indexes: made, used, dropped; and which indexes the searches use."""

from collections.abc import Sequence

import asyncpg
import numpy as np
import pytest
from pgvector import HalfVector

from ailb_server.domain.knowledge import Collection, NewChunk
from ailb_server.storage.knowledge_indexes import IndexRules, VectorIndexes
from ailb_server.storage.knowledge_nearest import nearest
from ailb_server.storage.knowledge_words import with_words
from ailb_server.storage.pool import Store
from tests.integration.knowledge.conftest import MINE, Shelf, new_document
from tests.support.postgres import sql
from tests.support.word_embedder import DIMENSION

RULES = IndexRules(made_above=50, dropped_below=25)
# Above what a statement of its own is written for.
MANY = 2600
_LIST = "SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'chunk_vectors'::regclass"
HNSW = f"{_LIST} AND indisvalid AND indexrelid::regclass::text ~ 'hnsw' ORDER BY 1"


def clustered(rows: int, seed: int = 3) -> list[np.ndarray]:
    """Vectors about 40 centres, of the length 1."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((40, DIMENSION))
    spread = centres[random.integers(0, 40, rows)] + 0.7 * random.standard_normal((rows, DIMENSION))
    unit = spread / np.linalg.norm(spread, axis=1, keepdims=True)
    return list(unit.astype(np.float32))


async def fill(shelf: Shelf, name: str, chunks: int) -> Collection:
    """A collection of one document."""
    docs = await shelf.make(name)
    texts = [f"common word{n % 50} unique{name}{n}" for n in range(chunks)]
    vectors = clustered(chunks, seed=docs.id)
    parts = [NewChunk(text, vector) for text, vector in zip(texts, vectors, strict=True)]
    await shelf.rows.replace_document(docs, new_document("all", *texts), parts)
    return await shelf.rows.collection(MINE, name)


async def test_an_index_comes_and_goes_with_the_size(
    shelf: Shelf, store: Store, migrated_dsn: str
) -> None:
    big = await fill(shelf, "big", 60)
    await fill(shelf, "small", 50)
    indexes = VectorIndexes(store, migrated_dsn, RULES)
    assert await indexes.tend()
    assert sql(migrated_dsn, HNSW) == f"chunk_vectors_hnsw_{big.id}_1"
    comment = f"SELECT obj_description('chunk_vectors_hnsw_{big.id}_1'::regclass)"
    assert "Serves searches" in sql(migrated_dsn, comment)
    await shelf.put(big, "all", *(f"text {n}" for n in range(30)))
    assert await indexes.tend()
    assert sql(migrated_dsn, HNSW) != ""
    await shelf.put(big, "all", "text")
    assert await indexes.tend()
    assert sql(migrated_dsn, HNSW) == ""


async def test_what_an_interrupted_build_left_is_made_anew(
    shelf: Shelf, store: Store, migrated_dsn: str
) -> None:
    big = await fill(shelf, "big", 60)
    name = f"chunk_vectors_hnsw_{big.id}_1"
    # Of another length, so that it fails in the middle.
    broken = await asyncpg.connect(migrated_dsn)
    with pytest.raises(asyncpg.DataError):
        await broken.execute(
            f"CREATE INDEX CONCURRENTLY {name} ON chunk_vectors USING hnsw"
            " ((embedding::halfvec(7)) halfvec_cosine_ops)"
        )
    await broken.close()
    assert sql(migrated_dsn, f"{_LIST} AND NOT indisvalid") == name
    assert await VectorIndexes(store, migrated_dsn, RULES).tend()
    assert sql(migrated_dsn, HNSW) == name


async def test_one_instance_works_at_a_time(shelf: Shelf, store: Store, migrated_dsn: str) -> None:
    await fill(shelf, "big", 60)
    other = await asyncpg.connect(migrated_dsn)
    await other.execute("SELECT pg_advisory_lock($1)".replace("$1", str(0x41494C43)))
    indexes = VectorIndexes(store, migrated_dsn, RULES)
    assert not await indexes.tend()
    await other.close()
    while not await indexes.tend():
        pass
    assert sql(migrated_dsn, HNSW) != ""


async def test_the_index_finds_what_an_exact_search_finds(
    shelf: Shelf, store: Store, migrated_dsn: str
) -> None:
    big = await fill(shelf, "big", MANY)
    await VectorIndexes(store, migrated_dsn, RULES).tend()
    found, total = 0, 0
    for query in clustered(40, seed=99):
        near = await shelf.rows.nearest(big, query, limit=50, metadata={})
        exact = await shelf.rows.nearest(big, query, limit=10, metadata={"any": 1})
        assert exact == []
        wanted = await exactly(store, big, query)
        found += len({chunk.chunk_id for chunk in near[:10]} & wanted)
        total += 10
    assert found / total >= 0.97


async def exactly(store: Store, collection: Collection, query: np.ndarray) -> set[int]:
    async with store.connection() as connection:
        sql_ = nearest(collection, DIMENSION, filtered=False, exact=True)
        rows = await connection.fetch(sql_, MINE, collection.id, HalfVector(query), 10)
    return {row["id"] for row in rows}


async def plan(store: Store, statement: str, *given: object) -> str:
    async with store.connection() as connection:
        rows = await connection.fetch(f"EXPLAIN {statement}", *given)
    return "\n".join(row["QUERY PLAN"] for row in rows)


async def test_plans_are_on_the_indexes_meant_for_them(
    shelf: Shelf, store: Store, migrated_dsn: str
) -> None:
    big = await fill(shelf, "big", MANY)
    small = [await fill(shelf, f"small{n}", 30) for n in range(30)]
    await VectorIndexes(store, migrated_dsn, RULES).tend()
    sql(migrated_dsn, "ANALYZE")
    vector = HalfVector(clustered(1)[0])

    def given(of: Collection, *more: object) -> Sequence[object]:
        return (MINE, of.id, vector, 50, *more)

    near = await plan(store, nearest(big, DIMENSION, filtered=False, exact=False), *given(big))
    assert f"Index Scan using chunk_vectors_hnsw_{big.id}_1" in near
    assert "Seq Scan on chunk" not in near
    exact = await plan(store, nearest(big, DIMENSION, filtered=False, exact=True), *given(big))
    assert "hnsw" not in exact
    few = await plan(
        store, nearest(small[3], DIMENSION, filtered=False, exact=False), *given(small[3])
    )
    assert "chunk_vectors_collection" in few
    assert "hnsw" not in few
    for of, text in ((small[5], "common word7"), (big, "common word7")):
        words = (MINE, of.id, text, 50, 3, ["'common'"], 100.0, 0.0, 0.5)
        found = await plan(store, with_words(filtered=False), *words)
        assert "chunks_words" in found or "chunks_collection" in found
        assert "Seq Scan on chunks" not in found
    narrowed = await plan(
        store, nearest(big, DIMENSION, filtered=True, exact=True), *given(big, '{"a": 1}')
    )
    assert "hnsw" not in narrowed
    assert "document_id = documents.id" in narrowed
    assert "Seq Scan on chunk" not in narrowed
