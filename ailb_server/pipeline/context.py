"""Gives a chat its memory and its knowledge, and remembers what came of it."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from ailb_server.domain.chat import KNOWLEDGE_FIELDS, ChatChunk, ChatRequest, Operation, is_last
from ailb_server.domain.context import (
    Exchange,
    Knowledge,
    KnowledgeQuery,
    Memory,
    Recalled,
    Retrieved,
    Source,
)
from ailb_server.domain.errors import InvalidRequestError
from ailb_server.domain.session_id import check_session_id
from ailb_server.domain.target import Target
from ailb_server.domain.value_object import value_object
from ailb_server.pipeline.augment import augmented
from ailb_server.pipeline.knowledge_fields import knowledge_query
from ailb_server.pipeline.sources import ends, with_sources
from ailb_server.pipeline.tally import Tally
from ailb_server.pipeline.wishes import CallWishes
from ailb_server.telemetry.tracing import Within


@dataclass(slots=True)
class Remembering:
    """One exchange on its way into memory; each method's second call does nothing."""

    memory: Memory
    session_id: str
    wishes: CallWishes
    tally: Tally = field(default_factory=Tally)
    _done: bool = False

    async def remember(self, request: ChatRequest, target: Target) -> None:
        """Stores the request as its caller wrote it, and what has been said."""
        if self._done or self.tally.empty:
            return
        self._done = True
        exchange = Exchange(
            self.wishes.who,
            self.session_id,
            self.wishes.request_id,
            request,
            self.tally.said(target),
        )
        with Within("remember"):
            await self.memory.remember(exchange)


@value_object
class Prepared:
    """A request with its context. `heeded` are the own fields that did something; `degraded` names
    what did not answer: `memory`, `rag`. `remembering` is there if the answer goes into memory."""

    request: ChatRequest
    heeded: frozenset[str] = frozenset()
    sources: Sequence[Source] = ()
    degraded: tuple[str, ...] = ()
    remembering: Remembering | None = None


@dataclass(frozen=True, slots=True)
class ContextStage:
    """Both are optional: a deployment may have switched them off."""

    memory: Memory | None = None
    knowledge: Knowledge | None = None

    async def prepare(self, request: ChatRequest, wishes: CallWishes) -> Prepared:
        """Raises InvalidRequestError, CollectionNotFoundError; an outage only degrades."""
        session_id = self._session(request, wishes)
        query = self._query(request)
        if session_id is None and query is None:
            return Prepared(request)
        # One after the other: both embed the same question, which the second finds done.
        retrieved = await self._retrieved(query, wishes)
        recalled = await self._recalled(session_id, request, wishes)
        # Knowledge first: it varies less within a conversation than what resembles a question.
        notes = [note for note in (retrieved.message, recalled.similar) if note]
        degraded = [("memory", recalled.degraded), ("rag", retrieved.degraded)]
        return Prepared(
            request=augmented(request, notes, recalled.turns),
            heeded=_heeded(session_id, query) & request.own_fields,
            sources=retrieved.sources,
            degraded=tuple(name for name, so in degraded if so),
            remembering=self._remembering(session_id, wishes),
        )

    def _session(self, request: ChatRequest, wishes: CallWishes) -> str | None:
        if self.memory is None or request.operation is not Operation.CHAT:
            return None
        told = request.fields.get("session_id") if "session_id" in request.own_fields else None
        return wishes.session_id if told is None else check_session_id(told)

    def _query(self, request: ChatRequest) -> KnowledgeQuery | None:
        if request.operation is not Operation.CHAT:
            return None
        query = knowledge_query(request)
        if query is not None and self.knowledge is None:
            raise InvalidRequestError(
                "Knowledge (RAG) is switched off here: its operator enables it by ENABLE_RAG=true.",
                param="rag_collection",
            )
        return query

    async def _recalled(
        self, session_id: str | None, request: ChatRequest, wishes: CallWishes
    ) -> Recalled:
        if self.memory is None or session_id is None:
            return Recalled()
        with Within("memory"):
            return await self.memory.recall(wishes.who, session_id, request)

    async def _retrieved(self, query: KnowledgeQuery | None, wishes: CallWishes) -> Retrieved:
        if self.knowledge is None or query is None:
            return Retrieved()
        wishes.who.require_collection(query.collection, param="rag_collection")
        with Within("rag"):
            return await self.knowledge.retrieve(wishes.who, query)

    def _remembering(self, session_id: str | None, wishes: CallWishes) -> Remembering | None:
        if self.memory is None or session_id is None:
            return None
        return Remembering(self.memory, session_id, wishes)


async def remembered(
    chunks: AsyncGenerator[ChatChunk, None],
    request: ChatRequest,
    target: Target,
    remembering: Remembering,
) -> AsyncGenerator[ChatChunk, None]:
    """The chunks; before the end of the answer is told, it is stored, so that a request made after
    it finds it. If the caller leaves, what was said until then is stored; if the provider breaks
    off, nothing: the caller is told so, and will ask again."""
    async with aclosing(chunks):
        try:
            async for chunk in chunks:
                remembering.tally.add(chunk)
                if is_last(chunk, stream=request.stream):
                    await remembering.remember(request, target)
                yield chunk
        except (asyncio.CancelledError, GeneratorExit):
            await remembering.remember(request, target)
            raise
        await remembering.remember(request, target)


async def sourced(
    chunks: AsyncGenerator[ChatChunk, None], sources: Sequence[Source], *, stream: bool
) -> AsyncGenerator[ChatChunk, None]:
    """The chunks, the sources in the one that ends the answer."""
    told = False
    async with aclosing(chunks):
        async for chunk in chunks:
            if not told and (not stream or any(map(ends, chunk.events))):
                told = True
                yield with_sources(chunk, sources, stream=stream)
            else:
                yield chunk


def _heeded(session_id: str | None, query: KnowledgeQuery | None) -> frozenset[str]:
    fields = frozenset({"session_id"}) if session_id is not None else frozenset()
    return fields | KNOWLEDGE_FIELDS if query is not None else fields
