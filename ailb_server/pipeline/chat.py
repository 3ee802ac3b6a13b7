"""The stages of one chat request, in order."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace

from ailb_server.domain.admission import Admission
from ailb_server.domain.chat import ChatChunk, ChatRequest
from ailb_server.domain.context import Source
from ailb_server.domain.errors import AilbError, Reason
from ailb_server.domain.target import Target
from ailb_server.pipeline.admission import OpenAdmission
from ailb_server.pipeline.context import ContextStage, Prepared, remembered, sourced
from ailb_server.pipeline.reckoning import Reckoning
from ailb_server.pipeline.record import ChatObserver, ChatRecord, record_of
from ailb_server.pipeline.wishes import NO_WISHES, CallWishes
from ailb_server.routing.dispatcher import Answer, Dispatcher
from ailb_server.routing.router import Router
from ailb_server.spend.reservation import Pricing


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """An answer that has begun. `chunks` may raise UpstreamError after the first.

    `ignored` names the request's parameters that did nothing; `degraded` the parts of its context
    that did not answer: `memory`, `rag`; `limits` are headers that tell of the caller's.
    """

    target: Target
    overhead_s: float
    chunks: AsyncIterator[ChatChunk]
    ignored: frozenset[str] = frozenset()
    sources: Sequence[Source] = ()
    degraded: tuple[str, ...] = ()
    limits: Sequence[tuple[str, str]] = ()


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

    @asynccontextmanager
    async def open(
        self, request: ChatRequest, wishes: CallWishes = NO_WISHES
    ) -> AsyncIterator[ChatAnswer]:
        """Raises AilbError before it yields, or while the chunks are read.

        Leaving the context, by cancellation too, ends the upstream call.
        """
        record = record_of(request, wishes)
        with _recorded(record, self.observer) as started:
            # Before the look-up: who may not use a model need not learn whether there is one.
            wishes.who.require_model(request.model)
            admitted = await self.admission.admit(wishes.who, request)
            reckoning = Reckoning(record, admitted, self.observer, self.pricing)
            try:
                prepared = await self.context.prepare(request, wishes)
                plan = self.router.plan(prepared.request, wishes.strategy, wishes)
                opening = self.dispatcher.open(plan, prepared.request, wishes.time_left_s)
                async with opening as answer:
                    record.first_token_s = time.perf_counter() - started
                    record.overhead_s = max(0.0, record.first_token_s - answer.waited_s)
                    reckoning.began(answer, plan.facts)
                    # Closed here: left to the collector, they would outlive the call as tasks.
                    staged = _chunks(request, prepared, answer, reckoning)
                    try:
                        async with aclosing(staged) as chunks:
                            begun = _begun(request, prepared, answer, record.overhead_s, chunks)
                            yield replace(begun, limits=admitted.headers)
                    finally:
                        reckoning.settle()
            finally:
                reckoning.settle()


def _chunks(
    request: ChatRequest, prepared: Prepared, answer: Answer, reckoning: Reckoning
) -> AsyncGenerator[ChatChunk, None]:
    """What the chunks pass through on their way out; each stage closes the one before."""
    chunks = _tallied(answer, reckoning)
    if prepared.remembering is not None:
        chunks = remembered(chunks, request, answer.target, prepared.remembering)
    if prepared.sources:
        chunks = sourced(chunks, prepared.sources, stream=request.stream)
    return chunks


def _begun(
    request: ChatRequest,
    prepared: Prepared,
    answer: Answer,
    overhead_s: float,
    chunks: AsyncIterator[ChatChunk],
) -> ChatAnswer:
    return ChatAnswer(
        target=answer.target,
        overhead_s=overhead_s,
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


@contextmanager
def _recorded(record: ChatRecord, observer: ChatObserver) -> Iterator[float]:
    started = time.perf_counter()
    observer.chat_started(record)
    try:
        yield started
    except AilbError as error:
        record.outcome = error.reason.value.lower()
        raise
    except (asyncio.CancelledError, GeneratorExit):
        record.outcome = "cancelled"
        raise
    except BaseException:
        record.outcome = Reason.INTERNAL_ERROR.value.lower()
        raise
    finally:
        record.total_s = time.perf_counter() - started
        observer.chat_finished(record)
