"""Idempotency-Key: the same key and body is answered once, by whichever instance, and never billed
twice."""

import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import NoReturn

from ailb_server.domain.admission import Readmission
from ailb_server.domain.chat import ChatRequest, TokenUsage
from ailb_server.domain.errors import (
    AilbError,
    IdempotencyConflictError,
    IdempotencyKeyReusedError,
    IdempotentAnswerNotKeptError,
    StorageUnavailableError,
)
from ailb_server.domain.repeats import (
    Claim,
    OnceResult,
    OnceStore,
    Recording,
    RepeatObserver,
    Taken,
)
from ailb_server.domain.target import Target
from ailb_server.pipeline.chat import ChatAnswer, ChatPipeline
from ailb_server.pipeline.digests import once_digest, once_name
from ailb_server.pipeline.holding import Holding, HoldingRules
from ailb_server.pipeline.record import ChatRecord, Recorded, record_of
from ailb_server.pipeline.recordings import Replay, recording_of
from ailb_server.pipeline.wishes import NO_WISHES, CallWishes

_PARAM = "idempotency-key"
_RETRY_AFTER_S = 1.0


@dataclass(frozen=True, slots=True)
class OnceOnly:
    """`Chats` over a pipeline. Requests without an Idempotency-Key go straight to it.

    While the first of several requests runs, the others are told so (409): waiting, they would hold
    places that others need, for as long as an answer takes.
    """

    chats: ChatPipeline
    admission: Readmission
    store: OnceStore
    observer: RepeatObserver
    rules: HoldingRules

    def open(
        self, request: ChatRequest, wishes: CallWishes = NO_WISHES
    ) -> AbstractAsyncContextManager[ChatAnswer]:
        """As `ChatPipeline.open`.

        Raises also IdempotencyKeyReusedError, IdempotencyConflictError,
        IdempotentAnswerNotKeptError, and StorageUnavailableError: without its store it cannot
        promise to answer once.
        """
        if wishes.idempotency_key is None:
            return self.chats.open(request, wishes)
        return self._open(request, wishes, wishes.idempotency_key)

    @asynccontextmanager
    async def _open(
        self, request: ChatRequest, wishes: CallWishes, idempotency_key: str
    ) -> AsyncIterator[ChatAnswer]:
        found = await self._claimed(request, wishes, idempotency_key)
        opening = (
            self._first(request, wishes, found)
            if isinstance(found, Claim)
            else self._again(request, wishes, found)
        )
        async with opening as answer:
            yield answer

    async def _claimed(
        self, request: ChatRequest, wishes: CallWishes, idempotency_key: str
    ) -> Claim | Taken | AilbError:
        """Errors as values, for `_again` to count them as the end of a request."""
        try:
            wishes.who.require_model(request.model)
            name = once_name(wishes, idempotency_key)
            return await self.store.claim(name, once_digest(request))
        except StorageUnavailableError:
            return StorageUnavailableError(
                "The store is unavailable, so this Idempotency-Key cannot be honoured now. Try"
                " again, or send the request without it.",
                retry_after_s=_RETRY_AFTER_S,
            )
        except AilbError as error:
            return error

    @asynccontextmanager
    async def _first(
        self, request: ChatRequest, wishes: CallWishes, claim: Claim
    ) -> AsyncIterator[ChatAnswer]:
        self.observer.once("first")
        holding = Holding(self.store, claim, self.observer, self.rules)
        async with (
            holding.held(),
            self.chats.open(request, wishes) as answer,
            aclosing(holding.kept(answer, stream=request.stream)) as chunks,
        ):
            yield replace(answer, chunks=chunks)

    @asynccontextmanager
    async def _again(
        self, request: ChatRequest, wishes: CallWishes, found: Taken | AilbError
    ) -> AsyncIterator[ChatAnswer]:
        record = record_of(request, wishes)
        with Recorded(record, self.chats.observer) as started:
            if isinstance(found, AilbError):
                raise found
            admitted = await self.admission.readmit(wishes.who, request, wishes)
            try:
                recording = self._recording(found)
                _replayed(record, recording)
                record.first_token_s = record.overhead_s = time.perf_counter() - started
                answer = _answer(recording, wishes, record.overhead_s)
                yield replace(answer, limits=admitted.headers)
            finally:
                admitted.settle(None, None)

    def _recording(self, found: Taken) -> Recording:
        if not found.same:
            self._refuse("reused", IdempotencyKeyReusedError(_REUSED, param=_PARAM))
        if not found.done:
            conflict = IdempotencyConflictError(
                _CONFLICT, retry_after_s=_RETRY_AFTER_S, param=_PARAM
            )
            self._refuse("conflict", conflict)
        if found.recording is None:
            self._refuse("unkept", IdempotentAnswerNotKeptError(_NOT_KEPT, param=_PARAM))
        self.observer.once("replayed")
        return recording_of(found.recording)

    def _refuse(self, result: OnceResult, error: AilbError) -> NoReturn:
        self.observer.once(result)
        raise error


_REUSED = (
    "This Idempotency-Key was sent with another body within the last 24 hours. A key is for one"
    " request and its retries."
)
_CONFLICT = "A request with this Idempotency-Key runs. Its answer will be given to a later retry."
_NOT_KEPT = (
    "A request with this Idempotency-Key was answered and billed, and its answer was too large to"
    " be kept. Send a new key to ask again."
)


def _replayed(record: ChatRecord, recording: Recording) -> None:
    for chunk in recording.chunks:
        record.saw(chunk)
    record.target = Target(recording.provider, recording.model)
    record.served_from, record.whole = "replay", True
    # The request that got the answer first has paid for it.
    record.usage, record.cost_micro_dollars = TokenUsage(), 0


def _answer(recording: Recording, wishes: CallWishes, overhead_s: float) -> ChatAnswer:
    return ChatAnswer(
        Target(recording.provider, recording.model),
        overhead_s,
        Replay(recording.chunks),
        recording.ignored,
        recording.sources,
        recording.degraded,
        cache="bypass" if wishes.asks_cache else "",
        replayed=True,
    )
