"""The stages of one chat request, in order."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from ailb_server.domain.admission import Admission
from ailb_server.domain.chat import ChatChunk, ChatRequest
from ailb_server.domain.context import Source
from ailb_server.domain.target import Target
from ailb_server.pipeline.admission import OpenAdmission
from ailb_server.pipeline.caching import Look, NoCache, ResponseCache
from ailb_server.pipeline.context import ContextStage, Prepared, remembered, sourced
from ailb_server.pipeline.phases import Phase, phased
from ailb_server.pipeline.reckoning import Reckoning
from ailb_server.pipeline.record import ChatObserver, ChatRecord, Recorded, record_of
from ailb_server.pipeline.wishes import NO_WISHES, CallWishes
from ailb_server.routing.dispatcher import Answer, Dispatcher
from ailb_server.routing.facts import RequestFacts
from ailb_server.routing.router import Router
from ailb_server.spend.reservation import Pricing


@dataclass(slots=True)
class ChatAnswer:
    """An answer that has begun. `chunks` may raise UpstreamError after the first.

    `ignored` names the request's parameters that did nothing; `degraded` the parts of its context
    that did not answer: `memory`, `rag`; `limits` are headers that tell of the caller's; `cache` is
    what the response cache did, empty if it was not asked for; `replayed`: it was given before, to
    the same Idempotency-Key.
    """

    target: Target
    overhead_s: float
    chunks: AsyncIterator[ChatChunk]
    ignored: frozenset[str] = frozenset()
    sources: Sequence[Source] = ()
    degraded: tuple[str, ...] = ()
    limits: Sequence[tuple[str, str]] = ()
    cache: str = ""
    replayed: bool = False


class Chats(Protocol):
    """Who answers chats."""

    def open(
        self, request: ChatRequest, wishes: CallWishes = NO_WISHES
    ) -> AbstractAsyncContextManager[ChatAnswer]:
        """See `ChatPipeline.open`."""
        ...


@dataclass(frozen=True, slots=True)
class ChatPipeline:
    """One chat: admission, context, route, dispatch, tally; settled and told to the observer on
    every way out."""

    router: Router
    dispatcher: Dispatcher
    observer: ChatObserver
    context: ContextStage = field(default_factory=ContextStage)
    admission: Admission = field(default_factory=OpenAdmission)
    pricing: Pricing = field(default_factory=Pricing)
    cache: ResponseCache = field(default_factory=NoCache)

    @asynccontextmanager
    async def open(
        self, request: ChatRequest, wishes: CallWishes = NO_WISHES
    ) -> AsyncIterator[ChatAnswer]:
        """Raises AilbError before it yields, or while the chunks are read.

        Leaving the context, by cancellation too, ends the upstream call.
        """
        record = record_of(request, wishes)
        with Recorded(record, self.observer) as started:
            # Before the look-up: who may not use a model need not learn whether there is one.
            wishes.who.require_model(request.model)
            admitting = self.admission.admit(wishes.who, request, wishes)
            admitted = await phased(record, "admission", admitting)
            reckoning = Reckoning(record, admitted, self.observer, self.pricing)
            try:
                preparing = self.context.prepare(request, wishes)
                prepared = await phased(record, "context", preparing)
                look = await self.cache.look(prepared, wishes) if wishes.asks_cache else None
                opening, facts = self._opening(record, prepared.request, wishes, look)
                async with opening as answer:
                    record.first_token_s = time.perf_counter() - started
                    record.overhead_s = max(0.0, record.first_token_s - answer.waited_s)
                    reckoning.began(answer, facts)
                    # Closed here: left to the collector, they would outlive the call as tasks.
                    staged = self._chunks(prepared, answer, reckoning, look)
                    staged = _finished(staged, request, prepared, answer)
                    try:
                        async with aclosing(staged) as chunks:
                            begun = _begun(request, prepared, answer, reckoning, chunks)
                            begun.limits = admitted.headers
                            begun.cache = look.told if look else ""
                            yield begun
                    finally:
                        reckoning.tell()
            finally:
                reckoning.settle()

    def _opening(
        self, record: ChatRecord, request: ChatRequest, wishes: CallWishes, look: Look | None
    ) -> tuple[AbstractAsyncContextManager[Answer], RequestFacts | None]:
        """The cache's answer, else a provider's, which has facts."""
        if look is not None and look.answer is not None:
            return nullcontext(look.answer), None
        with Phase(record, "routing"):
            plan = self.router.plan(request, wishes.strategy, wishes)
        record.decision = plan.decision
        return self.dispatcher.open(plan, request, wishes.time_left_s), plan.facts

    def _chunks(
        self, prepared: Prepared, answer: Answer, reckoning: Reckoning, look: Look | None
    ) -> AsyncGenerator[ChatChunk, None]:
        """As they are reckoned and, if so, kept."""
        chunks = _tallied(answer, reckoning)
        if look is not None and look.digest is not None:
            chunks = self.cache.kept(chunks, look, prepared.request, answer)
        return chunks


def _finished(
    chunks: AsyncGenerator[ChatChunk, None],
    request: ChatRequest,
    prepared: Prepared,
    answer: Answer,
) -> AsyncGenerator[ChatChunk, None]:
    """With what the context makes of an answer; each stage closes the one before."""
    if prepared.remembering is not None:
        chunks = remembered(chunks, request, answer.target, prepared.remembering)
    if prepared.sources:
        chunks = sourced(chunks, prepared.sources, stream=request.stream)
    return chunks


def _begun(
    request: ChatRequest,
    prepared: Prepared,
    answer: Answer,
    reckoning: Reckoning,
    chunks: AsyncIterator[ChatChunk],
) -> ChatAnswer:
    return ChatAnswer(
        target=answer.target,
        overhead_s=reckoning.record.overhead_s or 0.0,
        chunks=chunks,
        ignored=frozenset(answer.ignored) | (request.own_fields - prepared.heeded),
        sources=prepared.sources,
        degraded=prepared.degraded,
    )


async def _tallied(answer: Answer, reckoning: Reckoning) -> AsyncGenerator[ChatChunk, None]:
    reckoning.saw(answer.first)
    yield answer.first
    async for chunk in answer.rest:
        reckoning.saw(chunk)
        yield chunk
    reckoning.ended()
