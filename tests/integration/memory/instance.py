"""Memory as app.memory puts it together, every part at hand."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from ailb_server.domain.chat import JsonObject
from ailb_server.domain.context import Exchange, Recalled
from ailb_server.domain.principal import ANYONE, Principal
from ailb_server.memory.availability import Availability
from ailb_server.memory.conversation_memory import ConversationMemory
from ailb_server.memory.conversations import Conversations
from ailb_server.memory.journal import Journal
from ailb_server.memory.recalling import Recalling, RecallRules
from ailb_server.memory.reindexing import Reindexing
from ailb_server.memory.remembering import Remembering
from ailb_server.memory.sweeping import Sweeping
from ailb_server.memory.turn_embedding import TurnEmbedding
from ailb_server.storage.memory_append import PostgresMemoryAppend
from ailb_server.storage.memory_embeddings import PostgresMemoryEmbeddings
from ailb_server.storage.memory_recall import PostgresMemoryRecall
from ailb_server.storage.memory_removal import PostgresMemorySweep
from ailb_server.storage.memory_sessions import PostgresMemorySessions
from ailb_server.storage.pool import Store
from tests.support.conversations import request
from tests.support.hashing_embedder import HashingEmbedder
from tests.support.postgres import eventually
from tests.unit.memory.watching import Watching

RULES = RecallRules(recent_tokens=200, similar_turns=3, embedding_timeout_s=0.2)


class Instance:
    """One gateway's memory. Patient: a slow disk is no outage, unless a test says so."""

    def __init__(
        self,
        store: Store,
        embedder: HashingEmbedder | None = None,
        rules: RecallRules = RULES,
        ttl: timedelta = timedelta(days=90),
        journal_size: int = 10_000,
        patience_s: float = 30.0,
    ) -> None:
        self.store = store
        self.embedder = embedder or HashingEmbedder()
        self.watching = Watching()
        self.journal = Journal(self.watching, journal_size)
        self.availability = Availability(store.ping, self.watching, every_s=0.02)
        self.embeddings = PostgresMemoryEmbeddings(store)
        self.embedding = TurnEmbedding(self.embeddings, self.embedder, self.watching)
        self.sweeping = Sweeping(PostgresMemorySweep(store), self.watching, ttl)
        self.sessions = PostgresMemorySessions(store)
        self.conversations = Conversations(self.sessions, self.journal, self.embedder)
        self.reindexing = Reindexing(self.embeddings, self.embedder, self.embedding.wake)
        recalling = Recalling(
            PostgresMemoryRecall(store),
            self.journal,
            self.availability,
            self.embedder,
            self.watching,
            rules,
        )
        remembering = Remembering(
            PostgresMemoryAppend(store),
            self.journal,
            self.availability,
            self.embedding.wake,
            patience_s,
        )
        self.memory = ConversationMemory(
            recalling, remembering, self.availability, self.embedding, self.sweeping
        )

    async def remember(self, *exchanges: Exchange) -> None:
        """One after the other."""
        for exchange in exchanges:
            await self.memory.remember(exchange)

    async def recall(
        self, *messages: JsonObject, session: str = "s", who: Principal = ANYONE
    ) -> Recalled:
        """Of a request of these messages."""
        return await self.memory.recall(who, session, request(*messages))

    async def texts(self, session: str = "s", who: Principal = ANYONE) -> list[str]:
        """All that is stored of a session."""
        page = await self.conversations.turns(who, session, 1000, -1)
        return [turn.text for turn in page.turns]

    async def fetch(self, query: str, *arguments: object) -> Any:
        """Rows."""
        async with self.store.connection() as connection:
            return await connection.fetch(query, *arguments)


async def until(condition: Callable[[], bool], what: str) -> None:
    """Waits for it; bounded."""
    await asyncio.to_thread(eventually, condition, what)


def contents(recalled: Recalled) -> list[str]:
    """The texts of the last turns."""
    return [str(turn["content"]) for turn in recalled.turns]
