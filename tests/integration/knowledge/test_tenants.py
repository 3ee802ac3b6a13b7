"""A tenant's knowledge is nobody else's, whatever is asked."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from ailb_server.domain.context import KnowledgeQuery
from ailb_server.domain.errors import AilbError, NotFoundError
from ailb_server.domain.knowledge import Collection, NewCollection, TellingWords, WordQuery
from ailb_server.storage.knowledge_vectors import PostgresKnowledge
from tests.integration.knowledge.conftest import MINE, OTHER, Shelf, ids, new_document
from tests.support.word_embedder import vector_of

TRIES = 400


@pytest.fixture
async def two(shelf: Shelf) -> tuple[Collection, Collection]:
    """A collection of each tenant, of the same name, with a document of the same id."""
    mine = await shelf.make()
    await shelf.put(mine, "a", "apple of mine", tenant="mine")
    theirs = Shelf(shelf.rows, shelf.embedder, OTHER)
    other = await theirs.make()
    await theirs.put(other, "a", "apple of theirs", tenant="theirs")
    return mine, other


async def test_the_same_name_is_another_collection(
    shelf: Shelf, two: tuple[Collection, Collection]
) -> None:
    for tenant, said in ((MINE, "apple of mine"), (OTHER, "apple of theirs")):
        found = await shelf.retriever().search(tenant, KnowledgeQuery("docs", "apple theirs mine"))
        assert [passage.text for passage in found.passages] == [said]


Try = Callable[[PostgresKnowledge, Collection], Awaitable[object]]


def tries(shelf: Shelf, draw: random.Random) -> dict[str, Try]:
    """Every method of the store that is given a collection, with arguments that would hit."""
    space = shelf.embedder.space
    assert space is not None
    vector = vector_of("apple", space)
    metadata = draw.choice(({}, {"tenant": "theirs"}, {"tenant": "mine"}))
    words = WordQuery(draw.choice(("apple", "theirs", "nothing")), 3, TellingWords(["appl"]))
    return {
        "document": lambda s, c: s.document(c, "a"),
        "list": lambda s, c: s.list_documents(c, "", 10),
        "hashes": lambda s, c: s.stored_hashes(c, ["a"]),
        "delete": lambda s, c: s.delete_document(c, "a"),
        "replace": lambda s, c: s.replace_document(c, new_document("a", "x"), []),
        "words": lambda s, c: s.with_words(c, words, limit=9, metadata=metadata),
        "near": lambda s, c: s.nearest(c, vector, limit=9, metadata=metadata),
        "similar": lambda s, c: s.similarities(c, vector, [1, 2]),
        "chunks": lambda s, c: s.chunks(c, [1, 2, 3]),
        "unembedded": lambda s, c: s.unembedded(c, draw.randint(1, 9), 0, 9),
        "count": lambda s, c: s.embedded_count(c, 1),
        "begin": lambda s, c: s.begin_reindex(c, space),
        "finish": lambda s, c: s.finish_reindex(c, space),
        "vectors": lambda s, c: s.add_vectors(c, 1, space, [(1, vector), (2, vector)]),
        "adopt": lambda s, c: s.adopt_space(c, space),
        "drop": lambda s, c: s.delete_collection(c.tenant_id, f"{c.name}x"),
    }


async def test_no_method_reaches_another_tenant_s_rows(
    shelf: Shelf, two: tuple[Collection, Collection]
) -> None:
    draw = random.Random(4)  # noqa: S311
    mine, other = two
    for number in range(TRIES):
        target, liar = (mine, OTHER) if number % 2 else (other, MINE)
        # As if a fault of ours had mixed up two tenants: the ids are right, the tenant is not.
        forged = replace(target, tenant_id=draw.choice((liar, 77)), name=draw.choice("dx") + "x")
        name, call = draw.choice(list(tries(shelf, draw).items()))
        try:
            got = await call(shelf.rows, forged)
        except AilbError:
            continue
        assert got in ([], {}, 0), name
    for tenant, said in ((MINE, "apple of mine"), (OTHER, "apple of theirs")):
        found = await shelf.retriever().search(tenant, KnowledgeQuery("docs", "apple"))
        assert [passage.text for passage in found.passages] == [said]


@pytest.mark.parametrize("text", ["a'; SELECT 1; --", "%", "docs\x00", "DOCS", "docs ", "ö" * 99])
async def test_names_are_taken_as_they_are(shelf: Shelf, text: str) -> None:
    await shelf.rows.create_collection(OTHER, NewCollection("docs"))
    with pytest.raises(NotFoundError):
        await shelf.rows.collection(MINE, text)


async def test_a_filter_cannot_name_a_tenant(
    shelf: Shelf, two: tuple[Collection, Collection]
) -> None:
    for metadata in ({"tenant_id": OTHER}, {"collection_id": two[1].id}, {"tenant": "theirs"}):
        query = KnowledgeQuery("docs", "apple", filter=metadata)
        assert ids(await shelf.retriever().search(MINE, query)) == []
