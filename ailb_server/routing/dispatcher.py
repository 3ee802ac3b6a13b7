"""Tries a plan's targets until one gives its first valid chunk."""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from ailb_server.domain.chat import ChatChunk, ChatRequest
from ailb_server.domain.errors import UntranslatableError, UpstreamError, UpstreamUnavailableError
from ailb_server.domain.ports import ChatProvider, ProviderAnswer
from ailb_server.domain.target import Target
from ailb_server.routing.ledger import Ledger

# Tells of each attempt's first chunk or failure: the target, seconds, and the reason of a failure.
AttemptSeen = Callable[[Target, float, str | None], None]


@dataclass(slots=True)
class Answer:
    """A target's answer, begun: `first` is valid, `rest` may still fail.

    `waited_s` is the time spent on upstreams, all attempts together, until `first`.
    """

    target: Target
    first: ChatChunk
    rest: AsyncIterator[ChatChunk]
    waited_s: float
    ignored: tuple[str, ...] = ()


class Dispatcher:
    """Opens plans at the providers."""

    def __init__(
        self, providers: Mapping[str, ChatProvider], ledger: Ledger, attempt_seen: AttemptSeen
    ) -> None:
        self._providers = providers
        self._ledger = ledger
        self._attempt_seen = attempt_seen

    @asynccontextmanager
    async def open(self, plan: Sequence[Target], request: ChatRequest) -> AsyncIterator[Answer]:
        """The first answer that begins; before that, every failover error moves to the next target.

        Raises the last target's error if none answers. Leaving the context ends the upstream call.
        """
        started = time.perf_counter()
        async with AsyncExitStack() as stack:
            target, first, answer = await self._first(stack, plan, request)
            waited_s = time.perf_counter() - started
            yield Answer(target, first, answer.chunks, waited_s, answer.ignored)

    async def _first(
        self, stack: AsyncExitStack, plan: Sequence[Target], request: ChatRequest
    ) -> tuple[Target, ChatChunk, ProviderAnswer]:
        failure: UpstreamError | None = None
        for target in plan:
            try:
                return target, *await self._attempt(stack, target, request)
            except UpstreamError as error:
                if not error.failover:
                    raise
                if failure is None or not isinstance(error, UntranslatableError):
                    # Who could have answered tells more than who could not be asked.
                    failure = error
        raise failure or UpstreamUnavailableError("No target could answer.", model=request.model)

    async def _attempt(
        self, stack: AsyncExitStack, target: Target, request: ChatRequest
    ) -> tuple[ChatChunk, ProviderAnswer]:
        started = time.perf_counter()
        async with AsyncExitStack() as attempt:
            try:
                state = attempt.enter_context(self._ledger.attempt(target))
                provider = self._providers[target.provider]
                answer = await attempt.enter_async_context(provider.open(request, target.model))
                first = await anext(answer.chunks, None)
                if first is None:
                    raise UpstreamUnavailableError(
                        "The provider's answer is empty.", provider=target.provider
                    )
            except UpstreamError as error:
                self._attempt_seen(target, time.perf_counter() - started, error.reason.value)
                raise
            state.consecutive_failures = 0
            self._attempt_seen(target, time.perf_counter() - started, None)
            await stack.enter_async_context(attempt.pop_all())
        return first, answer
