"""Retrieval, judged: hybrid finds at least as well as either of the two that it is made of.

`evaluation/` holds short factual passages, this project's own documents as they once were, and
questions with what answers them: some in other words, some by an exact name or number.
"""

from collections.abc import Mapping, Sequence

import pytest
from typing_extensions import override

from ailb_server.domain.chat import Json
from ailb_server.domain.context import KnowledgeQuery
from ailb_server.domain.embedding import Embedder
from ailb_server.domain.knowledge import Collection, NewChunk, NewCollection, Word, WordQuery
from ailb_server.knowledge.cache import ResultCache
from ailb_server.knowledge.retrieval import Retriever
from ailb_server.storage.knowledge_vectors import PostgresKnowledge
from ailb_server.storage.pool import Store
from tests.integration.knowledge.conftest import MINE, Shelf, ids, new_document
from tests.integration.knowledge.judged import DEPTH, Corpus, corpora, ndcg
from tests.support.embedder import model_directory, real_embedder
from tests.support.word_embedder import HashingEmbedder

__all__ = ["model_directory", "real_embedder"]

CORPORA = corpora()
NAMES = sorted(CORPORA)


class Wordless(PostgresKnowledge):
    """Finds nothing by words."""

    @override
    async def with_words(
        self,
        collection: Collection,
        sought: WordQuery,
        *,
        limit: int,
        metadata: Mapping[str, Json],
    ) -> Sequence[Word]:
        return []


@pytest.mark.parametrize("name", NAMES)
def test_every_judgement_names_a_document(name: str) -> None:
    corpus = CORPORA[name]
    assert len(corpus.documents) >= 40
    assert len(corpus.questions) >= 24
    unknown = [wanted - corpus.documents.keys() for _, wanted in corpus.questions]
    assert [names for names in unknown if names] == []


def test_no_question_was_seen_before() -> None:
    asked = {query.casefold() for query, _ in CORPORA["tuned"].questions}
    assert len(CORPORA["held out"].questions) >= 48
    assert not asked & {query.casefold() for query, _ in CORPORA["held out"].questions}


def test_gains() -> None:
    wanted = frozenset("a")
    assert ndcg(["a", "b"], wanted) == 1
    assert ndcg(["b", "b", "a"], wanted) == pytest.approx(0.6309, abs=1e-4)
    assert ndcg([], wanted) == 0


async def load(shelf: Shelf, embedder: Embedder, corpus: Corpus) -> None:
    docs = await shelf.rows.create_collection(MINE, NewCollection("docs", space=embedder.space))
    for id_, pieces in corpus.documents.items():
        texts = [piece.text for piece in pieces]
        vectors = await embedder.embed(texts)
        chunks = [
            NewChunk(piece.text, vector, piece.overlap)
            for piece, vector in zip(pieces, vectors, strict=True)
        ]
        await shelf.rows.replace_document(docs, new_document(id_, *texts), chunks)


async def scores(
    shelf: Shelf, store: Store, embedder: Embedder, corpus: Corpus
) -> Mapping[str, float]:
    """nDCG@10 by vectors alone, by words alone, and by both."""
    await load(shelf, embedder, corpus)
    ways = {
        "vectors": Retriever(Wordless(store), embedder, ResultCache(0)),
        "words": Retriever(shelf.rows, None, ResultCache(0)),
        "hybrid": Retriever(shelf.rows, embedder, ResultCache(0)),
    }
    return {name: await mean(retriever, corpus) for name, retriever in ways.items()}


async def mean(retriever: Retriever, corpus: Corpus) -> float:
    total = 0.0
    for query, wanted in corpus.questions:
        found = await retriever.search(MINE, KnowledgeQuery("docs", query, DEPTH))
        total += ndcg(ids(found), wanted)
    return total / len(corpus.questions)


@pytest.mark.parametrize("name", NAMES)
async def test_hybrid_is_as_good_as_either(
    shelf: Shelf, store: Store, real_embedder: Embedder, name: str
) -> None:
    got = await scores(shelf, store, real_embedder, CORPORA[name])
    figures = ", ".join(f"{way} {value:.4f}" for way, value in got.items())
    assert got["hybrid"] >= max(got["vectors"], got["words"]), figures
    assert got["hybrid"] > 0.8, figures


async def test_words_alone_are_of_use(shelf: Shelf, store: Store) -> None:
    got = await scores(shelf, store, HashingEmbedder(), CORPORA["tuned"])
    assert got["words"] > 0.6, got
