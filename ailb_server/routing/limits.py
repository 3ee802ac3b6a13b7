"""What a provider allows AILB: calls at once, requests and tokens in a minute."""

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass

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


class Gate:
    """One provider's limits. Tokens are charged by estimate and corrected by what was used."""

    def __init__(self, limits: ProviderLimits) -> None:
        self._limits = limits
        self._requests = SlidingSum(_MINUTE_S, _MINUTE_S)
        self._tokens = SlidingSum(_MINUTE_S, _MINUTE_S)
        self._waiters: deque[asyncio.Future[None]] = deque()
        self.in_flight = 0

    def relimit(self, limits: ProviderLimits) -> None:
        """Holds to other limits from now on."""
        self._limits = limits

    @property
    def counts_tokens(self) -> bool:
        """Whether a request's tokens matter to it; estimating them costs time."""
        return self._limits.tokens_per_minute is not None

    def wait_s(self, now: float, tokens: int) -> float:
        """Seconds until a request may enter, as far as is known; 0 is now."""
        limits, wait = self._limits, 0.0
        if limits.max_concurrent is not None and self.in_flight >= limits.max_concurrent:
            wait = _RECHECK_S
        if limits.requests_per_minute is not None:
            room = limits.requests_per_minute - 1
            wait = max(wait, self._requests.fits_in(now, room))
        if limits.tokens_per_minute is not None:
            # A request beyond the whole limit goes alone, else it would never go.
            room = max(0, limits.tokens_per_minute - tokens)
            wait = max(wait, self._tokens.fits_in(now, room))
        return wait

    def enter(self, now: float, tokens: int) -> None:
        """A request enters; the caller has seen that it may."""
        self.in_flight += 1
        if self._limits.requests_per_minute is not None:
            self._requests.add(now, 1)
        if self.counts_tokens:
            self._tokens.add(now, tokens)

    def correct(self, entered: float, now: float, tokens: int) -> None:
        """Adds what the request that entered then used beyond its estimate; negative if less."""
        if self.counts_tokens:
            self._tokens.correct(entered, now, tokens)

    def refund(self, entered: float, now: float, tokens: int) -> None:
        """Takes back a request that entered then and was never sent."""
        if self._limits.requests_per_minute is not None:
            self._requests.correct(entered, now, -1)
        self.correct(entered, now, -tokens)

    def leave(self) -> None:
        """A request has left: its place wakes one who waits."""
        self.in_flight -= 1
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                break

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
