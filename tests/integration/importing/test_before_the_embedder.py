"""Documents that come before the embedder has started: by words at once, by meaning later."""

import asyncio
import logging
from dataclasses import replace

import pytest

from ailb_server.domain.embedding import EmbeddingSpace
from ailb_server.domain.principal import ANYONE
from ailb_server.knowledge.backfilling import Backfilling
from ailb_server.knowledge.import_worker import ImportWorker
from ailb_server.knowledge.reindexing import Reindexing
from ailb_server.storage.pool import Store
from tests.support.importing import FakeEmbedder, Instance, ended, text, until

TENANT = ANYONE.tenant_id


class NoIndexes:
    """Nothing is big enough for one."""

    async def build(self, collection_id: int, generation: int, dimension: int) -> None:
        """Exact search serves."""


async def vectors(store: Store) -> int:
    async with store.connection() as connection:
        return int(await connection.fetchval("SELECT count(*) FROM chunk_vectors"))


async def test_they_are_stored_and_get_their_vectors_when_it_has(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    embedder = FakeEmbedder()
    space, embedder.space = embedder.space, None
    instance = Instance(store, embedder)
    await instance.collection()
    reindexing = Reindexing(instance.knowledge, embedder, NoIndexes())
    backfilling = Backfilling(embedder, reindexing, every_s=0.01)
    backfilling.note(TENANT, "deleted meanwhile")
    group = replace(instance.group, without_vectors=backfilling.note)
    instance.worker = ImportWorker(group, instance.imports)
    filling = asyncio.create_task(backfilling.run())

    async def filled() -> bool:
        return "docs has its vectors now" in caplog.text

    try:
        async with instance.working():
            status = await instance.done(text("a"), text("b"))
            assert (status.imported, status.failed, status.passages) == (2, 0, 2)
            assert await vectors(store) == 0
            with caplog.at_level(logging.INFO):
                embedder.space = space
                await until(filled)
            assert await vectors(store) == 2
            collection = await instance.knowledge.collection(TENANT, "docs")
            assert isinstance(space, EmbeddingSpace)
            assert collection.space == space
    finally:
        await ended(filling)
