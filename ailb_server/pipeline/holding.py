"""Holds the claim of an Idempotency-Key while its request runs, and keeps the answer."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field

from ailb_server.domain.chat import ChatChunk, is_last
from ailb_server.domain.errors import StorageUnavailableError
from ailb_server.domain.repeats import Claim, OnceStore, Recording, RepeatObserver
from ailb_server.pipeline.chat import ChatAnswer
from ailb_server.pipeline.recordings import Recorder, recording_bytes

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HoldingRules:
    """Seconds: between renewals of a lease, how long the end of an answer waits for a store that
    is away, and between its tries."""

    renew_every_s: float = 10.0
    store_s: float = 5.0
    pause_s: float = 0.2
    max_answer_bytes: int = 1024 * 1024


@dataclass(slots=True)
class Holding:
    """One request's claim."""

    store: OnceStore
    claim: Claim
    observer: RepeatObserver
    rules: HoldingRules
    _storing: asyncio.Task[None] | None = field(init=False, default=None)

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Renews the lease meanwhile. Without an answer the claim is released at the end, whatever
        that was: a failure, a caller who left, an instance that stops."""
        renewing = asyncio.create_task(self._renew())
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.wait((renewing,))
            if self._storing is None:
                await self._release()
            else:
                await self._storing

    async def kept(self, answer: ChatAnswer, *, stream: bool) -> AsyncGenerator[ChatChunk, None]:
        """The answer's chunks; before its end is told, it is in the store."""
        recorder = Recorder(self.rules.max_answer_bytes)
        async for chunk in answer.chunks:
            recorder.add(chunk)
            if is_last(chunk, stream=stream):
                await self._finish(answer, recorder)
            yield chunk
        await self._finish(answer, recorder)

    async def _finish(self, answer: ChatAnswer, recorder: Recorder) -> None:
        if self._storing is None:
            # From here on it is billed: a caller who leaves now must find it all the same.
            self._storing = asyncio.create_task(self._store(self._whole(answer, recorder)))
            await asyncio.shield(self._storing)

    async def _store(self, whole: bytes | None) -> None:
        try:
            async with asyncio.timeout(self.rules.store_s):
                await self._until_stored(whole)
        except Exception as error:  # noqa: BLE001 - the answer is there, and is its caller's
            self.observer.once("lost")
            _log.error("idempotency: an answer is not kept: %s", type(error).__qualname__)

    async def _until_stored(self, whole: bytes | None) -> None:
        while True:
            try:
                if not await self.store.finish(self.claim, whole):
                    self.observer.once("lost")
                    _log.error("idempotency: a claim ended before its answer did")
            except StorageUnavailableError:
                await asyncio.sleep(self.rules.pause_s)
            else:
                return

    def _whole(self, answer: ChatAnswer, recorder: Recorder) -> bytes | None:
        if not recorder.whole:
            return None
        recording = Recording(
            answer.target.provider,
            answer.target.model,
            tuple(recorder.chunks),
            answer.ignored,
            answer.sources,
            answer.degraded,
        )
        return recording_bytes(recording, self.rules.max_answer_bytes)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self.rules.renew_every_s)
            try:
                await self.store.renew(self.claim)
            except StorageUnavailableError:
                # An outage ends, or the lease does: the next try, or the end, tells.
                continue
            except Exception as error:  # noqa: BLE001 - the answer goes on
                _log.error("idempotency: a lease is not renewed: %s", type(error).__qualname__)

    async def _release(self) -> None:
        try:
            async with asyncio.timeout(self.rules.store_s):
                await self.store.release(self.claim)
        except (StorageUnavailableError, TimeoutError):
            _log.warning("idempotency: a claim could not be released; its lease will end")
