"""Knowledge, put together."""

import asyncio
import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass

import asyncpg

from ailb_server.app.embedding import Embedders
from ailb_server.app.tasks import ended
from ailb_server.domain.errors import StorageUnavailableError
from ailb_server.knowledge.cache import ResultCache
from ailb_server.knowledge.chat import ChatKnowledge
from ailb_server.knowledge.reindexing import Reindexing
from ailb_server.knowledge.retrieval import Retriever
from ailb_server.settings import Settings
from ailb_server.storage.knowledge_indexes import VectorIndexes
from ailb_server.storage.knowledge_vectors import PostgresKnowledge
from ailb_server.storage.pool import Store
from ailb_server.telemetry.knowledge_metrics import KnowledgeMetrics

_TEND_EVERY_S = 30.0
# Beside the wait for the query's vector.
_STORE_TIMEOUT_S = 3.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OpenKnowledge:
    """What chats, the service and importing use of it."""

    store: PostgresKnowledge
    retriever: Retriever
    reindexing: Reindexing
    chat: ChatKnowledge


async def open_knowledge(
    settings: Settings,
    store: Store,
    database_url: str,
    embedders: Embedders | None,
    metrics: KnowledgeMetrics,
    closing: AsyncExitStack,
) -> OpenKnowledge:
    """`embedders` None: there are none. Tends the indexes until `closing` closes."""
    rows = PostgresKnowledge(store)
    indexes = VectorIndexes(store, database_url)
    cache = ResultCache(settings.rag_cache_size, metrics.looked_up)
    embed_timeout_s = settings.embedding_timeout_s
    query = embedders.query if embedders else None
    bulk = embedders.bulk if embedders else None
    retriever = Retriever(rows, query, cache, embed_timeout_s=embed_timeout_s)
    task = asyncio.create_task(_tend_for_ever(indexes))
    closing.push_async_callback(ended, task)
    return OpenKnowledge(
        store=rows,
        retriever=retriever,
        reindexing=Reindexing(rows, bulk, indexes),
        chat=ChatKnowledge(retriever, timeout_s=embed_timeout_s + _STORE_TIMEOUT_S),
    )


async def _tend_for_ever(indexes: VectorIndexes) -> None:
    while True:
        try:
            await indexes.tend()
        except StorageUnavailableError:
            # The searches tell of the outage.
            _log.debug("the indexes of knowledge wait for the store")
        except asyncpg.PostgresError as error:
            _log.warning("the indexes of knowledge could not be tended: %s", error)
        await asyncio.sleep(_TEND_EVERY_S)
