"""Imports, put together."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

from ailb_server.api.import_calls import ImportRpcs
from ailb_server.app.tasks import ended
from ailb_server.domain.embedding import Embedder
from ailb_server.knowledge.backfilling import Backfilling
from ailb_server.knowledge.extraction.process import ExtractionProcess
from ailb_server.knowledge.import_group import GroupWork
from ailb_server.knowledge.import_queue import WorkRules
from ailb_server.knowledge.import_worker import ImportWorker
from ailb_server.knowledge.importing import Importing
from ailb_server.knowledge.ports import KnowledgeStore
from ailb_server.knowledge.reindexing import Reindexing
from ailb_server.storage.import_items import PostgresImportItems
from ailb_server.storage.imports import PostgresImports
from ailb_server.storage.pool import Store


def open_importing(
    store: Store,
    knowledge: KnowledgeStore,
    embedder: Embedder | None,
    closing: AsyncExitStack,
    rules: WorkRules | None = None,
    reindexing: Reindexing | None = None,
) -> ImportRpcs:
    """This instance's part in imports: takes them in, and works on them until `closing` closes.

    `embedder` is the one that lets chats go first; None if there will not be one: documents are
    then found by their words until the collection is reindexed. `reindexing` gives those their
    vectors that come before it has started.
    """
    imports = PostgresImports(store)
    work = GroupWork(
        knowledge, PostgresImportItems(store), ExtractionProcess(), embedder, rules or WorkRules()
    )
    if embedder is not None and reindexing is not None:
        backfilling = Backfilling(embedder, reindexing)
        work = replace(work, without_vectors=backfilling.note)
        closing.push_async_callback(ended, asyncio.create_task(backfilling.run()))
    worker = ImportWorker(work, imports)
    closing.push_async_callback(ended, asyncio.create_task(worker.run()))
    return ImportRpcs(Importing(knowledge, imports, worker.wake))
