"""`domain.context.Memory`: recalls, remembers, and what runs beside."""

import asyncio
import contextlib

from ailb_server.domain.chat import ChatRequest
from ailb_server.domain.context import Exchange, Recalled
from ailb_server.domain.principal import Principal
from ailb_server.memory.availability import Availability
from ailb_server.memory.recalling import Recalling
from ailb_server.memory.remembering import Remembering
from ailb_server.memory.sweeping import Sweeping
from ailb_server.memory.turn_embedding import TurnEmbedding

_FLUSH_S = 5.0


class ConversationMemory:
    """Memory of one instance. `start` begins its tasks, `close` ends them."""

    def __init__(
        self,
        recalling: Recalling,
        remembering: Remembering,
        availability: Availability,
        embedding: TurnEmbedding,
        sweeping: Sweeping,
    ) -> None:
        self._recalling = recalling
        self._remembering = remembering
        self._availability = availability
        self._embedding = embedding
        self._sweeping = sweeping
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Within a running loop."""
        work = (
            self._availability.run(),
            self._remembering.drain(),
            self._embedding.run(),
            self._sweeping.run(),
        )
        self._tasks = [asyncio.create_task(task) for task in work]

    async def close(self) -> None:
        """Ends the tasks and stores what waits, within some seconds."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._remembering.flush(_FLUSH_S)

    async def recall(self, who: Principal, session_id: str, request: ChatRequest) -> Recalled:
        """See `domain.context.Memory`."""
        return await self._recalling.recall(who, session_id, request)

    async def remember(self, exchange: Exchange) -> None:
        """See `domain.context.Memory`."""
        await self._remembering.remember(exchange)

    def problem(self) -> str:
        """What is wrong with memory, for health; empty if nothing is."""
        if not self._availability.up:
            return "the store does not answer; answers wait to be stored"
        return self._embedding.problem()
