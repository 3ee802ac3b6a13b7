"""One try of one target, from its admission to its end."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from ailb_server.domain.chat import TokenUsage
from ailb_server.domain.errors import (
    InvalidRequestError,
    UpstreamError,
    UpstreamRejectedError,
    UpstreamUnavailableError,
)
from ailb_server.routing.breaker import Ticket
from ailb_server.routing.facts import RequestFacts
from ailb_server.routing.seat import Seat

_LEFT = (asyncio.CancelledError, GeneratorExit)


class NotAdmittedError(Exception):
    """The target may not be asked now. Never leaves routing."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Clocks:
    """Seconds: monotonic, and since 1970."""

    clock: Callable[[], float]
    wall: Callable[[], float]


class Attempt:
    """A context around the upstream call; how it is left is how the attempt ended.

    Entering raises NotAdmittedError if the target is cooling, probed by another, full or, unless
    this is the `last_resort`, dark.
    """

    __slots__ = (
        "_charged",
        "_clocks",
        "_facts",
        "_last_resort",
        "_ticket",
        "blame",
        "seat",
        "started",
    )

    def __init__(
        self, seat: Seat, facts: RequestFacts, clocks: Clocks, *, last_resort: bool
    ) -> None:
        self.seat = seat
        self._facts = facts
        self._clocks = clocks
        self._last_resort = last_resort
        self._ticket = Ticket(0, probe=False)
        self._charged = 0
        self.started = 0.0
        # What a cancellation means for the target, if it is not the caller's.
        self.blame: UpstreamError | None = None

    def __enter__(self) -> Self:
        now, seat, state = self._clocks.clock(), self.seat, self.seat.state
        if not seat.admits(self._facts, now, last_resort=self._last_resort):
            raise NotAdmittedError(seat.blocked_by(self._facts, now))
        self.started = now
        self._ticket = state.begin(now)
        state.in_flight += 1
        state.totals.attempts += 1
        state.waiting[id(self)] = now
        if seat.gate is not None:
            self._charged = seat.tokens(self._facts)
            seat.gate.enter(now, self._charged)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        state = self.seat.state
        state.in_flight -= 1
        state.waiting.pop(id(self), None)
        if self.seat.gate is not None:
            self.seat.gate.leave()
        self._judge(error)

    def answered(self) -> float:
        """The first chunk is there; seconds since the start."""
        now = self._clocks.clock()
        waited = now - self.started
        self.seat.state.waiting.pop(id(self), None)
        self.seat.state.answered(self._ticket, waited, now, stream=self._facts.stream)
        return waited

    def waited_s(self) -> float:
        """Seconds since the start."""
        return self._clocks.clock() - self.started

    def used(self, usage: TokenUsage, cost_micro_dollars: int) -> None:
        """What the answer took, to be told once."""
        self.seat.state.used(usage, cost_micro_dollars)
        if self.seat.gate is not None:
            taken = usage.prompt + usage.completion
            now = self._clocks.clock()
            self.seat.gate.correct(self.started, now, taken - self._charged)

    def _judge(self, error: BaseException | None) -> None:
        state, now, at = self.seat.state, self._clocks.clock(), self._clocks.wall()
        if isinstance(error, _LEFT) and self.blame is not None:
            error = self.blame
        if error is None:
            state.succeeded(self._ticket, now - self.started, now, at)
        elif isinstance(error, UpstreamRejectedError):
            state.rejected(self._ticket)
        elif isinstance(error, InvalidRequestError):
            # Told by the translator: the target was never asked.
            state.unasked(self._ticket)
            if self.seat.gate is not None:
                self.seat.gate.refund(self.started, now, self._charged)
        elif isinstance(error, UpstreamUnavailableError) and error.resendable:
            # An old connection's end says nothing about the target.
            state.abandoned(self._ticket)
        elif isinstance(error, UpstreamError):
            state.failed(self._ticket, error, now, at)
        else:
            state.abandoned(self._ticket)
