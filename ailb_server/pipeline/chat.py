"""The stages of one chat request, in order."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass

from ailb_server.domain.chat import ChatChunk, ChatRequest
from ailb_server.domain.errors import AilbError, Reason
from ailb_server.domain.principal import ANYONE, Principal
from ailb_server.domain.target import Target
from ailb_server.pipeline.record import ChatObserver, ChatRecord
from ailb_server.routing.dispatcher import Answer, Dispatcher
from ailb_server.routing.router import Router
from ailb_server.spend.pricing import cost_micro_dollars


@dataclass(frozen=True, slots=True)
class CallWishes:
    """What a call asks beside its body: a routing strategy by name, the seconds it has left, and
    who asks."""

    strategy: str | None = None
    time_left_s: float | None = None
    principal: Principal = ANYONE


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
            # Before the look-up: who may not use a model need not learn whether there is one.
            wishes.principal.require_model(request.model)
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
                    _settle(answer, record)


def _settle(answer: Answer, record: ChatRecord) -> None:
    if record.usage is not None:
        price = answer.target.price
        answer.used(record.usage, cost_micro_dollars(record.usage, price) if price else 0)


async def _tallied(answer: Answer, record: ChatRecord) -> AsyncGenerator[ChatChunk, None]:
    record.usage = answer.first.usage
    yield answer.first
    async for chunk in answer.rest:
        record.usage = chunk.usage or record.usage
        yield chunk


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
