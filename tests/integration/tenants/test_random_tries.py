"""No tenant ever meets another's rows: 10,000 tries and more, at random, by every way there is."""

import inspect
from collections.abc import Callable, Iterable
from functools import partial

from google.protobuf.descriptor import FileDescriptor

from ailb.v1 import knowledge_service_pb2, memory_service_pb2
from ailb_server.storage.import_items import PostgresImportItems
from ailb_server.storage.imports import PostgresImports
from ailb_server.storage.knowledge_vectors import PostgresKnowledge
from ailb_server.storage.memory_append import PostgresMemoryAppend
from ailb_server.storage.memory_embeddings import PostgresMemoryEmbeddings
from ailb_server.storage.memory_recall import PostgresMemoryRecall
from ailb_server.storage.memory_sessions import PostgresMemorySessions
from ailb_server.storage.pool import Store
from tests.integration.memory.instance import Instance
from tests.integration.tenants import knowledge_tries, memory_tries
from tests.integration.tenants.tries import Draw, Tally, tried, victims_rows

# Of each of the four kinds.
TRIES = 2600


def methods(*classes: type) -> set[str]:
    """Of stores."""
    return {
        name
        for one in classes
        for name, _ in inspect.getmembers(one, inspect.isroutine)
        if not name.startswith("_")
    }


def rpcs(file: FileDescriptor) -> set[str]:
    (service,) = file.services_by_name.values()
    return set(service.methods_by_name)


async def survived(store: Store, draw: Draw, seed: int) -> Tally:
    """Tries, none of which told or changed what is another's."""
    before = await victims_rows(store)
    tally = await tried(draw, TRIES, seed)
    assert await victims_rows(store) == before
    assert tally.tried.total() == TRIES
    return tally


def told_all(tally: Tally, names: Iterable[str]) -> bool:
    """Whether each of these calls told some callers what is their own: the tries can hit."""
    return all(tally.told[name] for name in names)


def test_they_are_ten_thousand() -> None:
    kinds: list[Callable[..., object]] = [
        test_memory_rpcs,
        test_memory_store,
        test_knowledge_rpcs,
        test_knowledge_store,
    ]
    assert len(kinds) * TRIES >= 10_000


async def test_memory_rpcs(store: Store) -> None:
    state = await memory_tries.conversations(Instance(store))
    tally = await survived(store, partial(memory_tries.rpc, state), seed=1)
    assert set(tally.tried) == {*rpcs(memory_service_pb2.DESCRIPTOR), "recall", "remember"}
    assert told_all(tally, ("ListSessions", "GetSession", "ListTurns", "SearchTurns", "recall"))


async def test_memory_store(store: Store) -> None:
    state = await memory_tries.conversations(Instance(store))
    tally = await survived(store, partial(memory_tries.stored, state), seed=2)
    stores = (
        PostgresMemorySessions,
        PostgresMemoryRecall,
        PostgresMemoryAppend,
        PostgresMemoryEmbeddings,
    )
    assert set(tally.tried) == methods(*stores) - memory_tries.NOBODYS
    assert told_all(tally, ("sessions", "session", "turns", "search", "recall", "by_words"))


async def test_knowledge_rpcs(store: Store) -> None:
    state = await knowledge_tries.shelves(store)
    tally = await survived(store, partial(knowledge_tries.rpc, state), seed=3)
    assert set(tally.tried) == {*rpcs(knowledge_service_pb2.DESCRIPTOR), "retrieve"}
    assert told_all(tally, ("ListCollections", "ListDocuments", "SearchPassages", "retrieve"))


async def test_knowledge_store(store: Store) -> None:
    state = await knowledge_tries.shelves(store)
    tally = await survived(store, partial(knowledge_tries.stored, state), seed=4)
    asked = {*tally.tried, *knowledge_tries.NOBODYS, *knowledge_tries.BY_TENANT}
    assert asked == methods(PostgresKnowledge, PostgresImports, PostgresImportItems)
