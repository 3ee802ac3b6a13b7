"""Collections and documents: kept, listed, replaced as a whole, deleted with all they hold."""

import asyncio
import contextlib

import numpy as np
import pytest

from ailb_server.domain.embedding import EmbeddingSpace
from ailb_server.domain.errors import (
    AlreadyExistsError,
    EmbeddingMismatchError,
    NotFoundError,
)
from ailb_server.domain.knowledge import NewChunk, NewCollection
from tests.integration.knowledge.conftest import MINE, OTHER, Shelf, ids, new_document
from tests.support.postgres import sql


async def test_a_collection_is_what_was_made(shelf: Shelf) -> None:
    new = NewCollection("docs", "Our\x00 pages", chunk_size=500, chunk_overlap=50)
    made = await shelf.rows.create_collection(MINE, new)
    assert (made.description, made.chunk_size, made.chunk_overlap) == ("Our pages", 500, 50)
    assert (made.space, made.version, made.document_count, made.passage_count) == (None, 1, 0, 0)
    assert await shelf.rows.collection(MINE, "docs") == made
    with pytest.raises(AlreadyExistsError):
        await shelf.rows.create_collection(MINE, new)
    assert (await shelf.rows.create_collection(OTHER, new)).id != made.id


async def test_the_first_space_is_adopted_and_another_refused(shelf: Shelf) -> None:
    made = await shelf.rows.create_collection(MINE, NewCollection("docs"))
    space, other = EmbeddingSpace("a", 3), EmbeddingSpace("b", 3)
    assert (await shelf.rows.adopt_space(made, space)).space == space
    assert (await shelf.rows.adopt_space(made, space)).space == space
    with pytest.raises(EmbeddingMismatchError):
        await shelf.rows.adopt_space(made, other)


async def test_a_document_is_kept_and_replaced_as_a_whole(shelf: Shelf) -> None:
    docs = await shelf.make()
    first = await shelf.put(docs, "a/b.md", "one", "two", "three", lang="en", n=1, deep={"x": [1]})
    assert first.metadata == {"lang": "en", "n": 1, "deep": {"x": [1]}}
    assert await shelf.rows.document(docs, "a/b.md") == first
    assert await shelf.rows.stored_hashes(docs, ["a/b.md", "none"]) == {"a/b.md": first.sha256}
    second = await shelf.put(docs, "a/b.md", "four")
    assert (second.created_at, second.passage_count) == (first.created_at, 1)
    now = await shelf.rows.collection(MINE, "docs")
    assert (now.document_count, now.passage_count, now.version) == (1, 1, docs.version + 2)
    assert ids(await shelf.search("one")) == ["a/b.md"]
    assert (await shelf.search("one")).passages[0].text == "four"


async def test_a_long_document_is_stored_in_parts(shelf: Shelf) -> None:
    docs = await shelf.make()
    made = await shelf.put(docs, "long", *(f"part {n}" for n in range(1203)))
    assert made.passage_count == 1203
    assert (await shelf.rows.collection(MINE, "docs")).passage_count == 1203


async def test_lists_are_in_pages(shelf: Shelf) -> None:
    for name in ("b", "a", "c"):
        docs = await shelf.make(name)
        await shelf.put(docs, name, name)
    listed = await shelf.rows.list_collections(MINE, "a", 1)
    assert [collection.name for collection in listed] == ["b"]
    for id_ in ("z", "y"):
        await shelf.put(docs, id_, id_)
    assert [d.id for d in await shelf.rows.list_documents(docs, "", 2)] == ["c", "y"]
    assert [d.id for d in await shelf.rows.list_documents(docs, "y", 2)] == ["z"]


async def test_deleting_leaves_nothing(shelf: Shelf, migrated_dsn: str) -> None:
    docs = await shelf.make()
    await shelf.put(docs, "a", "one", "two")
    await shelf.put(docs, "b", "three")
    await shelf.rows.delete_document(docs, "a")
    now = await shelf.rows.collection(MINE, "docs")
    assert (now.document_count, now.passage_count) == (1, 1)
    with pytest.raises(NotFoundError):
        await shelf.rows.delete_document(docs, "a")
    await shelf.rows.delete_collection(MINE, "docs")
    for table in ("collections", "documents", "chunks", "chunk_vectors"):
        assert sql(migrated_dsn, f"TABLE {table}") == ""
    with pytest.raises(NotFoundError):
        await shelf.rows.delete_collection(MINE, "docs")
    with pytest.raises(NotFoundError):
        await shelf.put(docs, "c", "late")


async def test_vectors_of_another_length_are_refused(shelf: Shelf) -> None:
    docs = await shelf.make()
    chunk = NewChunk("x", np.ones(3, dtype=np.float32))
    with pytest.raises(ValueError, match="64 dimensions"):
        await shelf.rows.replace_document(docs, new_document("a", "x"), [chunk])


async def test_a_search_meets_the_old_document_or_the_new(shelf: Shelf) -> None:
    docs = await shelf.make()
    await shelf.put(docs, "a", *(f"common words, state 0, part {n}" for n in range(5)))
    done = asyncio.Event()

    async def replace() -> None:
        for state in range(1, 25):
            texts = [f"common words, state {state}, part {n}" for n in range(5)]
            await shelf.put(docs, "a", *texts)
        done.set()

    seen = set()
    writing = asyncio.create_task(replace())
    while not done.is_set():
        found = await shelf.search("common words state part", top_k=50)
        states = {word for p in found.passages for word in p.text.split("state ")[1:]}
        numbers = {text.split(",")[0] for text in states}
        assert len(numbers) == 1
        seen |= numbers
    await writing
    assert len(seen) > 1


async def test_writers_do_not_wait_for_each_other_for_ever(shelf: Shelf) -> None:
    docs = await shelf.make()

    async def churn(number: int) -> None:
        for _ in range(6):
            with contextlib.suppress(NotFoundError):
                await shelf.put(await shelf.rows.collection(MINE, "docs"), f"d{number % 2}", "x")

    async def delete() -> None:
        for _ in range(3):
            with contextlib.suppress(NotFoundError):
                await shelf.rows.delete_collection(MINE, "docs")
            await shelf.make()

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(churn(number))
        group.create_task(delete())
    now = await shelf.rows.collection(MINE, "docs")
    listed = await shelf.rows.list_documents(now, "", 10)
    assert now.id != docs.id
    assert (now.document_count, now.passage_count) == (len(listed), len(listed))
