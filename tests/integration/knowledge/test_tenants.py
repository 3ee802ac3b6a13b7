"""A tenant's knowledge is nobody else's. `tests/integration/tenants` tries all ways at random."""

import pytest

from ailb_server.domain.context import KnowledgeQuery
from ailb_server.domain.errors import NotFoundError
from ailb_server.domain.knowledge import Collection, NewCollection
from tests.integration.knowledge.conftest import MINE, OTHER, Shelf, ids


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
