"""The stages of one chat request, in order."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from ailb_server.domain.chat import ChatChunk, ChatRequest
from ailb_server.domain.context import Source
from ailb_server.domain.errors import AilbError, Reason
from ailb_server.domain.target import Target
from ailb_server.pipeline.context import ContextStage, Prepared, is_last, remembered, sourced
from ailb_server.pipeline.record import ChatObserver, ChatRecord, record_of
from ailb_server.pipeline.wishes import NO_WISHES, CallWishes
from ailb_server.routing.dispatcher import Answer, Dispatcher
from ailb_server.routing.router import Router


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """An answer that has begun. `chunks` may raise UpstreamError after the first.

    `ignored` names the request's parameters that did nothing; `degraded` the parts of its context
    that did not answer: `memory`, `rag`.
    """

    target: Target
    overhead_s: float
    chunks: AsyncIterator[ChatChunk]
    ignored: frozenset[str] = frozenset()
    sources: Sequence[Source] = ()
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChatPipeline:
    """One chat: context, route, dispatch, tally; told to the observer on every way out."""

    router: Router
    dispatcher: Dispatcher
    observer: ChatObserver
    context: ContextStage = field(default_factory=ContextStage)

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
            prepared = await self.context.prepare(request, wishes)
            plan = self.router.plan(prepared.request, wishes.strategy)
            async with self.dispatcher.open(plan, prepared.request, wishes.time_left_s) as answer:
                record.target = answer.target
                record.first_token_s = time.perf_counter() - started
                record.overhead_s = max(0.0, record.first_token_s - answer.waited_s)
                # Closed here: left to the collector, they would outlive the call as stray tasks.
                try:
                    async with aclosing(self._chunks(request, prepared, answer, record)) as chunks:
                        yield _begun(request, prepared, answer, record.overhead_s, chunks)
                finally:
                    _settle(answer, record)

    def _chunks(
        self, request: ChatRequest, prepared: Prepared, answer: Answer, record: ChatRecord
    ) -> AsyncGenerator[ChatChunk, None]:
        """What the chunks pass through on their way out; each stage closes the one before."""
        chunks = _tallied(answer, record, self.observer)
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


def _settle(answer: Answer, record: ChatRecord) -> None:
    if record.usage is not None:
        answer.used(record.usage, record.cost_micro_dollars or 0)


async def _tallied(
    answer: Answer, record: ChatRecord, observer: ChatObserver
) -> AsyncGenerator[ChatChunk, None]:
    _note(answer.first, record, observer)
    yield answer.first
    async for chunk in answer.rest:
        _note(chunk, record, observer)
        yield chunk


def _note(chunk: ChatChunk, record: ChatRecord, observer: ChatObserver) -> None:
    record.saw(chunk)
    # Before the caller has it: what a caller was told the end of must not be lost with us.
    if not record.stream or is_last(chunk):
        record.total_s = time.perf_counter() - record.started
        observer.chat_answered(record)


@contextmanager
def _recorded(record: ChatRecord, observer: ChatObserver) -> Iterator[float]:
    started = time.perf_counter()
    observer.chat_started()
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
