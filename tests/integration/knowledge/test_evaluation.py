"""Retrieval, judged: hybrid finds at least as well as either of the two that it is made of.

`evaluation/` holds short factual passages and questions with the passages that answer them: some
in other words, some by an exact name or number. The share of words that counts beside vectors was
chosen on this corpus (`retrieval.py`): a pass shows that it holds here, not that it does elsewhere.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from ailb_server.domain.context import KnowledgeQuery
from ailb_server.domain.embedding import Embedder
from ailb_server.domain.knowledge import Collection, NewChunk, NewCollection
from ailb_server.knowledge.cache import ResultCache
from ailb_server.knowledge.retrieval import Retriever
from ailb_server.storage.knowledge_vectors import PostgresKnowledge
from tests.integration.knowledge.conftest import MINE, Shelf, ids, new_document
from tests.support.embedder import model_directory, real_embedder
from tests.support.word_embedder import HashingEmbedder

__all__ = ["model_directory", "real_embedder"]

HERE = Path(__file__).parent / "evaluation"
DEPTH = 10


def pairs(name: str, separator: str) -> Sequence[tuple[str, str]]:
    lines = (HERE / name).read_text(encoding="utf-8").splitlines()
    split = [line.partition(separator) for line in lines]
    return [(left.strip(), right.strip()) for left, _, right in split]


PASSAGES = pairs("passages.txt", ": ")
QUERIES = [(query, set(wanted.split())) for query, wanted in pairs("queries.txt", "=>")]


def ndcg(found: Sequence[str], wanted: set[str]) -> float:
    """Normalised discounted cumulated gain of the first ten (Järvelin, Kekäläinen 2002)."""
    gains = [1 / math.log2(place + 2) for place, id_ in enumerate(found[:DEPTH]) if id_ in wanted]
    ideal = [1 / math.log2(place + 2) for place in range(min(len(wanted), DEPTH))]
    return sum(gains) / sum(ideal)


def test_every_judgement_names_a_passage() -> None:
    known = {id_ for id_, _ in PASSAGES}
    assert len(PASSAGES) >= 60
    assert len(QUERIES) >= 40
    assert [wanted for _, wanted in QUERIES if not wanted <= known] == []


def test_gains() -> None:
    assert ndcg(["a", "b"], {"a"}) == 1
    assert ndcg(["b", "a"], {"a"}) == pytest.approx(1 / math.log2(3))
    assert ndcg([], {"a"}) == 0


async def load(shelf: Shelf, embedder: Embedder) -> Collection:
    docs = await shelf.rows.create_collection(MINE, NewCollection("docs", space=embedder.space))
    vectors = await embedder.embed([text for _, text in PASSAGES])
    for (id_, text), vector in zip(PASSAGES, vectors, strict=True):
        await shelf.rows.replace_document(docs, new_document(id_, text), [NewChunk(text, vector)])
    return await shelf.rows.collection(MINE, "docs")


async def scores(shelf: Shelf, embedder: Embedder) -> Mapping[str, float]:
    """nDCG@10 by vectors alone, by words alone, and by both."""
    docs = await load(shelf, embedder)
    rows = shelf.rows
    ways: Mapping[str, Callable[[str], object]] = {
        "vectors": lambda text: nearest(rows, docs, embedder, text),
        "words": lambda text: searched(Retriever(rows, None, ResultCache(0)), text),
        "hybrid": lambda text: searched(Retriever(rows, embedder, ResultCache(0)), text),
    }
    totals = dict.fromkeys(ways, 0.0)
    for way, find in ways.items():
        for query, wanted in QUERIES:
            found = await find(query)  # type: ignore[misc]
            totals[way] += ndcg(found, wanted) / len(QUERIES)
    return totals


async def nearest(
    rows: PostgresKnowledge, docs: Collection, embedder: Embedder, text: str
) -> list[str]:
    (vector,) = await embedder.embed([text])
    near = await rows.nearest(docs, vector, limit=DEPTH, metadata={})
    chunks = await rows.chunks(docs, [chunk.chunk_id for chunk in near])
    names = {chunk.chunk_id: chunk.document_id for chunk in chunks}
    return [names[chunk.chunk_id] for chunk in near]


async def searched(retriever: Retriever, text: str) -> Sequence[str]:
    return ids(await retriever.search(MINE, KnowledgeQuery("docs", text, DEPTH)))


async def test_hybrid_is_as_good_as_either(shelf: Shelf, real_embedder: Embedder) -> None:
    got = await scores(shelf, real_embedder)
    assert got["hybrid"] >= max(got["vectors"], got["words"]), got
    assert got["hybrid"] > 0.8, got


async def test_words_alone_are_of_use(shelf: Shelf) -> None:
    got = await scores(shelf, HashingEmbedder())
    assert got["words"] > 0.6, got
