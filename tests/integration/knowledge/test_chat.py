"""Knowledge as chats meet it: sources, the cache, outages told once."""

import logging

import pytest

from ailb_server.domain.context import KnowledgeQuery
from ailb_server.domain.errors import CollectionNotFoundError
from ailb_server.domain.principal import ANYONE
from ailb_server.knowledge.cache import ResultCache
from ailb_server.knowledge.chat import ChatKnowledge
from ailb_server.knowledge.retrieval import Retriever
from ailb_server.storage.pool import Store
from tests.integration.knowledge.conftest import Shelf
from tests.support.word_embedder import HashingEmbedder

APPLE = KnowledgeQuery("docs", "apple")


async def test_a_chat_is_told_passages_and_their_sources(shelf: Shelf) -> None:
    docs = await shelf.make()
    await shelf.put(docs, "a", "An apple is a fruit.")
    got = await ChatKnowledge(shelf.retriever()).retrieve(ANYONE, APPLE)
    assert got.message is not None
    assert "[1] Title of a — /docs/a\n| An apple is a fruit." in got.message
    (source,) = got.sources
    assert (source.number, source.document_id, source.snippet) == (1, "a", "An apple is a fruit.")
    assert 0 < source.score < 1
    assert not got.degraded


async def test_nothing_found_is_nothing_told(shelf: Shelf) -> None:
    await shelf.make()
    got = await ChatKnowledge(shelf.retriever()).retrieve(ANYONE, APPLE)
    assert (got.message, list(got.sources), got.degraded) == (None, [], False)


async def test_an_unknown_collection_is_the_caller_s_fault(shelf: Shelf) -> None:
    with pytest.raises(CollectionNotFoundError) as refused:
        await ChatKnowledge(shelf.retriever()).retrieve(ANYONE, APPLE)
    assert refused.value.facts["param"] == "rag_collection"


async def test_an_outage_degrades_and_is_told_once(
    shelf: Shelf, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    docs = await shelf.make()
    await shelf.put(docs, "a", "apple")
    chat = ChatKnowledge(shelf.retriever(), timeout_s=2)
    await store.close()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert (await chat.retrieve(ANYONE, APPLE)).degraded
        await store.open()
        for _ in range(2):
            assert not (await chat.retrieve(ANYONE, APPLE)).degraded
    assert len(caplog.messages) == 2
    assert caplog.messages[1].startswith("over: ")


async def test_a_result_is_kept_until_the_collection_changes(shelf: Shelf) -> None:
    docs = await shelf.make()
    await shelf.put(docs, "a", "apple")
    told: list[bool] = []
    embedder = HashingEmbedder()
    retriever = Retriever(shelf.rows, embedder, ResultCache(10, told.append))
    first = await retriever.search(1, APPLE)
    assert await retriever.search(1, APPLE) == first
    await shelf.put(docs, "b", "apple apple")
    assert len((await retriever.search(1, APPLE)).passages) == 2
    await shelf.rows.delete_document(docs, "a")
    assert len((await retriever.search(1, APPLE)).passages) == 1
    assert told == [False, True, False, False]
    assert embedder.texts == ["apple"] * 3


async def test_what_was_found_by_words_alone_is_not_kept(shelf: Shelf) -> None:
    docs = await shelf.make()
    await shelf.put(docs, "a", "apple")
    embedder = HashingEmbedder(fails=True)
    retriever = Retriever(shelf.rows, embedder, ResultCache(10))
    assert (await retriever.search(1, APPLE)).degraded
    embedder.fails = False
    assert not (await retriever.search(1, APPLE)).degraded
