"""Conversation memory, put together."""

import contextlib
from dataclasses import dataclass
from datetime import timedelta

from prometheus_client import CollectorRegistry

from ailb_server.api.memory_service import MemoryService
from ailb_server.app.embedding import Embedders
from ailb_server.domain.health import PartHealth
from ailb_server.memory.availability import Availability
from ailb_server.memory.conversation_memory import ConversationMemory
from ailb_server.memory.conversations import Conversations
from ailb_server.memory.journal import Journal
from ailb_server.memory.recalling import Recalling, RecallRules
from ailb_server.memory.reindexing import Reindexing
from ailb_server.memory.remembering import Remembering
from ailb_server.memory.sweeping import Sweeping
from ailb_server.memory.turn_embedding import TurnEmbedding
from ailb_server.settings import Settings
from ailb_server.storage.memory_append import PostgresMemoryAppend
from ailb_server.storage.memory_embeddings import PostgresMemoryEmbeddings
from ailb_server.storage.memory_recall import PostgresMemoryRecall
from ailb_server.storage.memory_removal import PostgresMemorySweep
from ailb_server.storage.memory_sessions import PostgresMemorySessions
from ailb_server.storage.pool import Store
from ailb_server.telemetry.memory_metrics import MemoryMetrics


@dataclass(frozen=True, slots=True)
class OpenMemory:
    """`memory` is for the pipeline."""

    memory: ConversationMemory
    service: MemoryService

    def health(self) -> PartHealth:
        """As `/healthz` tells it."""
        return PartHealth("memory", self.memory.problem())


def open_memory(
    settings: Settings,
    store: Store,
    embedders: Embedders,
    registry: CollectorRegistry,
    closing: contextlib.AsyncExitStack,
) -> OpenMemory:
    """Begins memory's tasks, within a running loop; `closing` ends them before the store closes.

    They run with ENABLE_MEMORY off too: what was stored can still be read and deleted, and ends.
    """
    observer = MemoryMetrics(registry)
    ttl = timedelta(days=settings.memory_ttl_days)
    journal = Journal(observer)
    availability = Availability(store.ping, observer)
    embeddings = PostgresMemoryEmbeddings(store)
    embedding = TurnEmbedding(embeddings, embedders.bulk, observer)
    memory = ConversationMemory(
        Recalling(
            PostgresMemoryRecall(store),
            journal,
            availability,
            embedders.query,
            observer,
            _rules(settings),
        ),
        Remembering(PostgresMemoryAppend(store), journal, availability, embedding.wake),
        availability,
        embedding,
        Sweeping(PostgresMemorySweep(store), observer, ttl),
    )
    memory.start()
    closing.push_async_callback(memory.close)
    conversations = Conversations(
        PostgresMemorySessions(store), journal, embedders.query, settings.embedding_timeout_s
    )
    reindexing = Reindexing(embeddings, embedders.bulk, embedding.wake)
    return OpenMemory(memory, MemoryService(conversations, reindexing, ttl))


def _rules(settings: Settings) -> RecallRules:
    return RecallRules(
        recent_tokens=settings.memory_recent_tokens,
        similar_turns=settings.memory_similar_turns,
        min_similarity=settings.memory_min_similarity,
        embedding_timeout_s=settings.embedding_timeout_s,
    )
