"""The response cache: whether a request may be answered by it, and what goes into it."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from ailb_server.domain.chat import ChatChunk, ChatRequest, Operation, TokenUsage, is_last
from ailb_server.domain.repeats import (
    AnswerCache,
    CacheResult,
    CacheWish,
    Recording,
    RepeatObserver,
)
from ailb_server.domain.route import Asker
from ailb_server.domain.target import Target
from ailb_server.pipeline.context import Prepared
from ailb_server.pipeline.digests import cache_digest
from ailb_server.pipeline.recordings import (
    Recorder,
    Replay,
    is_good,
    recording_bytes,
    recording_of,
)
from ailb_server.pipeline.wishes import CallWishes
from ailb_server.routing.dispatcher import Answer

# Where a call's request may go, as `provider/model`; empty if nobody serves it.
Destinations = Callable[[ChatRequest, Asker], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Look:
    """What became of a look into the cache. `digest` is there if the answer is to be kept, and one
    of the `destinations` gives it."""

    told: CacheResult
    answer: Answer | None = None
    digest: bytes | None = None
    ttl_s: float = 0.0
    destinations: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class CacheRules:
    """`ttl_s` holds where neither the request nor its key says one."""

    ttl_s: float = 300.0
    max_answer_bytes: int = 1024 * 1024


_BYPASS = Look("bypass")
_WISH = CacheWish()


class ResponseCache(Protocol):
    """Asked only for requests that want it."""

    async def look(self, prepared: Prepared, wishes: CallWishes) -> Look:
        """By the request as it would go to a provider, with the passages that it was given."""
        ...

    def kept(
        self, chunks: AsyncGenerator[ChatChunk, None], look: Look, request: ChatRequest, by: Answer
    ) -> AsyncGenerator[ChatChunk, None]:
        """The chunks; before the end of a good answer is told, it is in the cache."""
        ...


class NoCache:
    """The `ResponseCache` where it is switched off: every request goes past it."""

    async def look(self, prepared: Prepared, wishes: CallWishes) -> Look:
        """See `ResponseCache`."""
        del prepared, wishes
        return _BYPASS

    def kept(
        self, chunks: AsyncGenerator[ChatChunk, None], look: Look, request: ChatRequest, by: Answer
    ) -> AsyncGenerator[ChatChunk, None]:
        """See `ResponseCache`."""
        del look, request, by
        return chunks


@dataclass(frozen=True, slots=True)
class CacheStage:
    """The `ResponseCache` over an `AnswerCache`. `destinations` tells where a request may go now:
    two callers of one model's name may be sent apart by a route."""

    cache: AnswerCache
    destinations: Destinations
    observer: RepeatObserver
    rules: CacheRules

    async def look(self, prepared: Prepared, wishes: CallWishes) -> Look:
        """See `ResponseCache`."""
        look = await self._look(prepared, wishes)
        self.observer.cache(look.told)
        return look

    async def _look(self, prepared: Prepared, wishes: CallWishes) -> Look:
        wish, request = wishes.cache or _WISH, prepared.request
        if not (wish.reads or wish.stores) or not is_fit(prepared):
            return _BYPASS
        targets = self.destinations(request, wishes)
        if not targets:
            return _BYPASS
        digest = cache_digest(request, wishes, targets)
        ttl_s = wish.ttl_s or wishes.who.cache_ttl_s or self.rules.ttl_s
        found = await self.cache.get(digest, ttl_s) if wish.reads else None
        if found is not None:
            return Look("hit", _answer(recording_of(found)))
        kept_as = digest if wish.stores else None
        return Look("miss", digest=kept_as, ttl_s=ttl_s, destinations=frozenset(targets))

    async def kept(
        self, chunks: AsyncGenerator[ChatChunk, None], look: Look, request: ChatRequest, by: Answer
    ) -> AsyncGenerator[ChatChunk, None]:
        """See `ResponseCache`."""
        recorder = Recorder(self.rules.max_answer_bytes)
        digest = look.digest if _is_theirs(look, by) else None
        async with aclosing(chunks):
            async for chunk in chunks:
                recorder.add(chunk)
                if digest is not None and is_last(chunk, stream=request.stream):
                    await self._keep(digest, look.ttl_s, request, by, recorder)
                yield chunk

    async def _keep(
        self, digest: bytes, ttl_s: float, request: ChatRequest, by: Answer, recorder: Recorder
    ) -> None:
        if not recorder.whole or not is_good(request, recorder.chunks):
            return
        target, chunks = by.target, tuple(recorder.chunks)
        recording = Recording(target.provider, target.model, chunks, frozenset(by.ignored))
        whole = recording_bytes(recording, self.rules.max_answer_bytes)
        if whole is not None:
            await self.cache.put(digest, whole, ttl_s)


def is_fit(prepared: Prepared) -> bool:
    """Whether the same request would get the same answer: temperature 0 or a seed, or embeddings,
    which nothing is left to chance in. Not within a session, whose every turn is another and is
    remembered, and not with a context that is incomplete."""
    if prepared.remembering is not None or prepared.degraded:
        return False
    request = prepared.request
    temperature, seed = request.fields.get("temperature"), request.fields.get("seed")
    return (
        request.operation is Operation.EMBEDDING
        or (_is_number(temperature) and temperature == 0)
        or _is_number(seed)
    )


def _is_theirs(look: Look, by: Answer) -> bool:
    """Whether the next request of the digest might get this very answer."""
    if {"temperature", "seed"}.intersection(by.ignored):
        # What a provider did not heed did not make its answer the same each time.
        return False
    # Else another version of the route has stood in, or a draw has come out otherwise.
    return f"{by.target.provider}/{by.target.model}" in look.destinations


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _answer(recording: Recording) -> Answer:
    first, *rest = recording.chunks
    target = Target(recording.provider, recording.model)
    return Answer(target, first, Replay(rest), 0.0, _used, tuple(recording.ignored))


def _used(usage: TokenUsage, cost_micro_dollars: int | None = None, *, whole: bool = True) -> None:
    """Nobody is to be told: no provider was asked."""
    del usage, cost_micro_dollars, whole
