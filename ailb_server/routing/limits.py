"""What a provider allows AILB: calls at once, requests and tokens in a minute."""

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from ailb_server.routing.window import SlidingSum

_MINUTE_S = 60
# How long a waiter for a place trusts that it will be woken, before it looks again.
_RECHECK_S = 1.0


@dataclass(frozen=True, slots=True)
class ProviderLimits:
    """None is no limit. They are the provider's, apart from those of AILB's callers."""

    max_concurrent: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None

    def any(self) -> bool:
        """Whether there is a limit at all."""
        limits = (self.max_concurrent, self.requests_per_minute, self.tokens_per_minute)
        return any(limit is not None for limit in limits)


@dataclass(frozen=True, slots=True)
class Entry:
    """A request that entered at `at`, for so many tokens; `shared` if it took what is shared."""

    at: float
    tokens: int
    shared: bool


class SharedLimits(Protocol):
    """A provider's requests and tokens that all instances share; those set at run time too."""

    @property
    def limited(self) -> bool:
        """Whether there is any."""
        ...

    def away(self, tokens: int) -> int:
        """0 while it is known whether a request may enter; else by how many instances what one of
        them may use is to be divided."""
        ...

    def wait_s(self, tokens: int) -> float:
        """Seconds until a request may enter, as far as is known; 0 is now, or that nobody knows."""
        ...

    async def supplied(self, tokens: int) -> None:
        """Returns when a request may enter, or it is known that it may not yet."""
        ...

    def enter(self, tokens: int) -> bool:
        """A request enters, if it may."""
        ...

    def correct(self, taken: int, used: int) -> None:
        """A request that entered for so many tokens has used so many."""
        ...

    def refund(self, taken: int) -> None:
        """A request that entered for so many tokens was never sent."""
        ...


class Gate:
    """One provider's limits. Tokens are charged by estimate and corrected by what was used.

    What is `shared` counts for requests and tokens; without it, or while it is away, what this
    instance has sent in the last minute. Of an outage that `denies`, nothing is sent.
    """

    def __init__(
        self, limits: ProviderLimits, shared: SharedLimits | None = None, *, denies: bool = False
    ) -> None:
        self._limits = limits
        self._shared = shared
        self._denies = denies
        self._requests = SlidingSum(_MINUTE_S, _MINUTE_S)
        self._tokens = SlidingSum(_MINUTE_S, _MINUTE_S)
        self._waiters: deque[asyncio.Future[None]] = deque()
        self.in_flight = 0

    def relimit(self, limits: ProviderLimits, shared: SharedLimits | None) -> None:
        """Holds to other limits from now on."""
        self._limits, self._shared = limits, shared

    @property
    def limited(self) -> bool:
        """Whether there is anything to ask it for."""
        return self._limits.any() or (self._shared is not None and self._shared.limited)

    @property
    def counts_tokens(self) -> bool:
        """Whether a request's tokens matter to it; estimating them costs time."""
        return self._limits.tokens_per_minute is not None

    @property
    def most_tokens(self) -> int:
        """What one request is charged at most: one beyond the whole limit would never enter."""
        return self._limits.tokens_per_minute or 0

    def wait_s(self, now: float, tokens: int) -> float:
        """Seconds until a request may enter, as far as is known; 0 is now."""
        limits, wait = self._limits, 0.0
        if limits.max_concurrent is not None and self.in_flight >= limits.max_concurrent:
            wait = _RECHECK_S
        if self._shared is None:
            return max(wait, self._own_wait_s(now, tokens, 1))
        if not (instances := self._shared.away(tokens)):
            return max(wait, self._shared.wait_s(tokens))
        if self._denies and self.limited:
            return max(wait, _RECHECK_S)
        return max(wait, self._own_wait_s(now, tokens, instances))

    async def supplied(self, tokens: int) -> None:
        """Asks whether a request may enter, if that is not known; `enter` tells."""
        if self._shared is not None and self._shared.limited:
            await self._shared.supplied(tokens)

    def enter(self, now: float, tokens: int) -> Entry | None:
        """A request enters, if what is shared has room for it; the caller has seen the rest."""
        shared = self._shared
        if shared is not None and shared.away(tokens):
            shared = None
        if shared is not None and not shared.enter(tokens):
            return None
        self.in_flight += 1
        if self._limits.requests_per_minute is not None:
            self._requests.add(now, 1)
        if self.counts_tokens:
            self._tokens.add(now, tokens)
        return Entry(now, tokens, shared is not None)

    def correct(self, entry: Entry, now: float, tokens: int) -> None:
        """A request that entered has used so many tokens."""
        if self.counts_tokens:
            self._tokens.correct(entry.at, now, tokens - entry.tokens)
            if self._shared is not None and entry.shared:
                self._shared.correct(entry.tokens, tokens)

    def refund(self, entry: Entry, now: float) -> None:
        """Takes back a request that was never sent."""
        if self._limits.requests_per_minute is not None:
            self._requests.correct(entry.at, now, -1)
        if self.counts_tokens:
            self._tokens.correct(entry.at, now, -entry.tokens)
        if self._shared is not None and entry.shared:
            self._shared.refund(entry.tokens)

    def leave(self) -> None:
        """A request has left: its place wakes one who waits."""
        self.in_flight -= 1
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                break

    def _own_wait_s(self, now: float, tokens: int, instances: int) -> float:
        """By what this instance has sent; of the limits, its share is one of so many."""
        limits, wait = self._limits, 0.0
        if limits.requests_per_minute is not None:
            room = max(1, limits.requests_per_minute // instances) - 1
            wait = self._requests.fits_in(now, room)
        if limits.tokens_per_minute is not None:
            room = max(0, limits.tokens_per_minute // instances - tokens)
            wait = max(wait, self._tokens.fits_in(now, room))
        return wait

    async def freed(self, seconds: float) -> None:
        """Returns when a place is freed, or after `seconds`."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await waiter
        finally:
            with contextlib.suppress(ValueError):
                self._waiters.remove(waiter)
