"""Searches: by meaning and by words, narrowed, merged, and when something is down."""

import asyncio
import dataclasses

import pytest

from ailb_server.domain.context import KnowledgeQuery
from ailb_server.domain.embedding import EmbeddingSpace
from ailb_server.domain.errors import EmbeddingMismatchError, NotFoundError
from ailb_server.domain.knowledge import NewChunk, NewCollection
from tests.integration.knowledge.conftest import MINE, Shelf, ids, new_document
from tests.support.word_embedder import HashingEmbedder


async def test_finds_by_words_and_by_meaning(shelf: Shelf) -> None:
    docs = await shelf.make()
    await shelf.put(docs, "retries", "A failed request is retried twice with a growing pause.")
    await shelf.put(docs, "colours", "The banner is green when all is well.")
    await shelf.put(docs, "codes", "Error AX-4711 means that the disk is full.")
    assert ids(await shelf.search("What does AX-4711 mean?"))[0] == "codes"
    assert ids(await shelf.search("pause of a retried request"))[0] == "retries"
    best = (await shelf.search("failed request is retried twice")).passages[0]
    assert (best.title, best.source) == ("Title of retries", "/docs/retries")
    assert best.similarity is not None
    assert 0.5 < best.similarity <= 1.0
    assert best.score == pytest.approx(2 / 61)


async def test_words_fall_back_to_the_rarer_ones(shelf: Shelf) -> None:
    docs = await shelf.make()
    for number in range(30):
        await shelf.put(docs, f"page{number}", f"The gateway says hello number {number}.")
    await shelf.put(docs, "zebra", "A zebra crossing.")
    words = await shelf.words("does the gateway have a zebra")
    first = await shelf.rows.chunks(docs, [words[0].chunk_id])
    assert first[0].document_id == "zebra"
    assert len(words) > 3


@pytest.mark.parametrize(
    "text", ["", " ", "the and of", "'; DROP TABLE chunks; --", "\\' & | ! <->"]
)
async def test_any_text_may_be_sought(shelf: Shelf, text: str) -> None:
    docs = await shelf.make()
    await shelf.put(docs, "a", "It's a back\\slash & an 'apostrophe'.")
    assert await shelf.words(text) == []


async def test_odd_lexemes_are_quoted(shelf: Shelf) -> None:
    docs = await shelf.make()
    await shelf.put(docs, "a", "See C:\\temp\\x and http://x.example/it's?a=1 for details.")
    text = "nothing else but C:\\temp\\x http://x.example/it's?a=1 details"
    assert len(await shelf.words(text)) == 1


async def test_a_floor_holds_for_what_words_found_too(shelf: Shelf) -> None:
    docs = await shelf.make()
    await shelf.put(docs, "a", "apple " + "pear plum cherry fig grape " * 8)
    await shelf.put(docs, "b", "apple")
    query = KnowledgeQuery("docs", "apple", min_score=0.9)
    assert ids(await shelf.retriever().search(MINE, query)) == ["b"]
    without = dataclasses.replace(query, min_score=None)
    assert sorted(ids(await shelf.retriever().search(MINE, without))) == ["a", "b"]


async def test_neighbours_are_one_passage_without_doubled_text(shelf: Shelf) -> None:
    docs = await shelf.make()
    texts = ["Wolves hunt in packs. ", "packs. Wolves howl at night. ", "A cat sleeps."]
    vectors = await shelf.embedder.embed(texts)
    chunks = [
        NewChunk(texts[0], vectors[0]),
        NewChunk(texts[1], vectors[1], overlap=len("packs. ")),
        NewChunk(texts[2], vectors[2]),
    ]
    await shelf.rows.replace_document(docs, new_document("animals", *texts), chunks)
    await shelf.put(docs, "else", "Nothing of the kind.")
    (passage,) = (await shelf.search("wolves", top_k=1)).passages
    assert passage.text.startswith("Wolves hunt in packs. Wolves howl at night.")
    assert (passage.first_chunk, passage.last_chunk) in {(0, 1), (0, 2)}


@pytest.mark.parametrize(
    ("metadata", "found"),
    [
        ({"lang": "de"}, ["a"]),
        ({"lang": "en", "year": 2024}, ["b"]),
        ({"tags": ["x"]}, ["b"]),
        ({"deep": {"er": True}}, ["c"]),
        ({"lang": "fr"}, []),
        ({"lang": None}, []),
        ({"lang": "de' OR '1'='1"}, []),
        ({"lang\u0000": "de\u0000"}, ["a"]),
        ({"$1": "'); DELETE FROM documents; --"}, []),
    ],
)
async def test_filters(shelf: Shelf, metadata: dict[str, object], found: list[str]) -> None:
    docs = await shelf.make()
    await shelf.put(docs, "a", "apple", lang="de")
    await shelf.put(docs, "b", "apple", lang="en", year=2024, tags=["x", "y"])
    await shelf.put(docs, "c", "apple", lang="en", deep={"er": True, "est": 1})
    query = KnowledgeQuery("docs", "apple", 10, filter=metadata)
    assert ids(await shelf.retriever().search(MINE, query)) == found
    assert ids(await shelf.retriever(words_only=True).search(MINE, query)) == found
    assert (await shelf.rows.collection(MINE, "docs")).document_count == 3


async def test_without_embedder_words_alone_are_no_fault(shelf: Shelf) -> None:
    docs = await shelf.make()
    await shelf.put(docs, "a", "apple")
    found = await shelf.retriever(words_only=True).search(MINE, KnowledgeQuery("docs", "apple"))
    assert (ids(found), found.degraded) == (["a"], False)


@pytest.mark.parametrize(
    "embedder",
    [
        HashingEmbedder(fails=True),
        HashingEmbedder(wait=asyncio.Event()),
        HashingEmbedder(space=None),
    ],
    ids=["down", "slow", "starting"],
)
async def test_an_embedder_that_does_not_answer_degrades(
    shelf: Shelf, embedder: HashingEmbedder
) -> None:
    docs = await shelf.make()
    await shelf.put(docs, "a", "apple")
    retriever = shelf.retriever(embedder)
    found = await retriever.search(MINE, KnowledgeQuery("docs", "apple", min_score=0.99))
    assert (ids(found), found.degraded) == (["a"], True)


async def test_a_collection_without_vectors_goes_by_words(shelf: Shelf) -> None:
    docs = await shelf.rows.create_collection(MINE, NewCollection("docs"))
    await shelf.rows.replace_document(docs, new_document("a", "apple"), [NewChunk("apple")])
    found = await shelf.search("apple")
    assert (ids(found), found.degraded) == (["a"], False)


async def test_another_space_is_refused(shelf: Shelf) -> None:
    await shelf.make()
    other = HashingEmbedder(EmbeddingSpace("newer", 32))
    with pytest.raises(EmbeddingMismatchError) as refused:
        await shelf.retriever(other).search(MINE, KnowledgeQuery("docs", "apple"))
    for said in ("hashing", "newer", "ailb rag reindex docs"):
        assert said in str(refused.value)


async def test_an_unknown_collection_is_not_found(shelf: Shelf) -> None:
    with pytest.raises(NotFoundError):
        await shelf.search("apple", "none")
