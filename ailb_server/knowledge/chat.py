"""Knowledge for chats: an outage takes it away, and the chat goes on."""

import asyncio
import logging

from ailb_server.domain.context import KnowledgeQuery, Retrieved
from ailb_server.domain.errors import (
    CollectionNotFoundError,
    NotFoundError,
    StorageUnavailableError,
)
from ailb_server.domain.principal import Principal
from ailb_server.knowledge.outage_log import OutageLog
from ailb_server.knowledge.prompt import sources, system_text
from ailb_server.knowledge.retrieval import Retriever

_log = logging.getLogger(__name__)


class ChatKnowledge:
    """`domain.context.Knowledge`; `timeout_s` bounds what a chat waits in all."""

    def __init__(self, retriever: Retriever, *, timeout_s: float = 8.0) -> None:
        self._retriever = retriever
        self._timeout_s = timeout_s
        self._outage = OutageLog(_log, "knowledge cannot be reached: chats go on without")

    async def retrieve(self, who: Principal, query: KnowledgeQuery) -> Retrieved:
        """Raises CollectionNotFoundError, and EmbeddingMismatchError rather than to search another
        way than the caller relies on."""
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await self._retriever.search(who.tenant_id, query)
        except NotFoundError:
            raise CollectionNotFoundError(
                f"There is no collection `{query.collection}`.", param="rag_collection"
            ) from None
        except (StorageUnavailableError, TimeoutError):
            self._outage.began()
            return Retrieved(degraded=True)
        self._outage.ended()
        if not found.passages:
            return Retrieved(degraded=found.degraded)
        return Retrieved(
            message=system_text(found.passages),
            sources=sources(query.collection, found.passages),
            degraded=found.degraded,
        )
