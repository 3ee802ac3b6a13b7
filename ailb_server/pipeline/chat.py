"""The stages of one chat request, in order."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace

from ailb_server.domain.chat import ChatChunk, ChatRequest
from ailb_server.domain.errors import AilbError, Reason
from ailb_server.domain.target import Target
from ailb_server.pipeline.record import ChatObserver, ChatRecord
from ailb_server.routing.dispatcher import Answer, Dispatcher
from ailb_server.routing.facts import BYTES_PER_TOKEN, RequestFacts
from ailb_server.routing.router import Router


@dataclass(frozen=True, slots=True)
class CallWishes:
    """What a call asks beside its body: a routing strategy by name, and the seconds it has left."""

    strategy: str | None = None
    time_left_s: float | None = None


NO_WISHES = CallWishes()


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """An answer that has begun. `chunks` may raise UpstreamError after the first."""

    target: Target
    overhead_s: float
    chunks: AsyncIterator[ChatChunk]
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChatPipeline:
    """One chat: route, dispatch, tally; told to the observer on every way out."""

    router: Router
    dispatcher: Dispatcher
    observer: ChatObserver

    @asynccontextmanager
    async def open(
        self, request: ChatRequest, wishes: CallWishes = NO_WISHES
    ) -> AsyncIterator[ChatAnswer]:
        """Raises AilbError before it yields, or while the chunks are read.

        Leaving the context, by cancellation too, ends the upstream call.
        """
        record = ChatRecord(request.model, request.stream)
        with _recorded(record, self.observer) as started:
            plan = self.router.plan(request, wishes.strategy)
            async with self.dispatcher.open(plan, request, wishes.time_left_s) as answer:
                record.target = answer.target
                record.first_token_s = time.perf_counter() - started
                record.overhead_s = max(0.0, record.first_token_s - answer.waited_s)
                # Closed here: left to the collector, it would outlive the call as a stray task.
                try:
                    async with aclosing(_tallied(answer, record)) as chunks:
                        yield ChatAnswer(answer.target, record.overhead_s, chunks, answer.ignored)
                finally:
                    _settle(answer, record, plan.facts)


def _settle(answer: Answer, record: ChatRecord, facts: RequestFacts) -> None:
    """What was seen is owed, though its provider did not come to tell how much it was."""
    told = record.usage
    if told is None:
        text = 0 if record.stream else len(answer.first.wire) // BYTES_PER_TOKEN
        record.usage = facts.usage_of(max(record.events, text))
    elif not record.whole and record.events > told.completion:
        record.usage = replace(told, completion=facts.usage_of(record.events).completion)
    record.estimated = record.usage is not told
    if record.usage is not None:
        answer.used(record.usage, whole=record.whole)


async def _tallied(answer: Answer, record: ChatRecord) -> AsyncGenerator[ChatChunk, None]:
    record.usage, record.events = answer.first.usage, len(answer.first.events)
    record.whole = not record.stream
    yield answer.first
    async for chunk in answer.rest:
        record.usage = chunk.usage or record.usage
        record.events += len(chunk.events)
        yield chunk
    record.whole = True


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
