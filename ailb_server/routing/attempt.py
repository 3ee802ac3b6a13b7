"""One try of one target, from its admission to its end."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from ailb_server.domain.chat import ChatChunk, TokenUsage
from ailb_server.domain.errors import (
    InvalidRequestError,
    UpstreamError,
    UpstreamModelMissingError,
    UpstreamRejectedError,
    UpstreamUnavailableError,
)
from ailb_server.routing.breaker import Ticket
from ailb_server.routing.facts import RequestFacts
from ailb_server.routing.limits import Entry
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
    this is the `last_resort`, dark. A call `beside` chats takes no tokens, and neither its time nor
    its failure says how chats are answered.
    """

    __slots__ = (
        "_beside",
        "_clocks",
        "_entry",
        "_facts",
        "_last_resort",
        "_lost",
        "_ticket",
        "blame",
        "overtaken",
        "seat",
        "started",
    )

    def __init__(
        self,
        seat: Seat,
        facts: RequestFacts,
        clocks: Clocks,
        *,
        last_resort: bool = False,
        beside: bool = False,
    ) -> None:
        self.seat = seat
        self._facts = facts
        self._clocks = clocks
        self._last_resort = last_resort
        self._beside = beside
        self._ticket = Ticket(0, probe=False)
        self._entry: Entry | None = None
        self.started = 0.0
        # What a cancellation means for the target, if it is not the caller's.
        self.blame: UpstreamError | None = None
        # Whether it was abandoned because a target that was asked later is faster.
        self.overtaken = False
        self._lost = False

    def __enter__(self) -> Self:
        now, seat, state = self._clocks.clock(), self.seat, self.seat.state
        if not seat.admits(self._facts, now, last_resort=self._last_resort):
            raise NotAdmittedError(seat.blocked_by(self._facts, now))
        if seat.gate is not None:
            tokens = 0 if self._beside else seat.tokens(self._facts)
            self._entry = seat.gate.enter(now, tokens)
            if self._entry is None:
                raise NotAdmittedError("full")
        self.started = now
        self._ticket = state.begin(now)
        state.in_flight += 1
        state.totals.attempts += 1
        if not self._beside:
            state.waiting[self._facts.stream][id(self)] = now
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        state, stream = self.seat.state, self._facts.stream
        state.in_flight -= 1
        if state.waiting[stream].pop(id(self), None) is not None:
            now = self._clocks.clock()
            state.waited_in_vain(now - self.started, now, stream=stream)
        if self.seat.gate is not None:
            self.seat.gate.leave()
        self._judge(error)

    def answered(self) -> float:
        """The first chunk is there; seconds since the start."""
        now, state, stream = self._clocks.clock(), self.seat.state, self._facts.stream
        waited = now - self.started
        state.waiting[stream].pop(id(self), None)
        state.answered(self._ticket, waited, now, stream=stream)
        return waited

    def waited_s(self) -> float:
        """Seconds since the start."""
        return self._clocks.clock() - self.started

    def lost(self, first: ChatChunk | None = None) -> None:
        """Another target was faster: what was seen of this one is paid for all the same."""
        self._lost = True
        told = first.usage if first else None
        seen = len(first.events) if first else 0
        self.used(told or self._facts.usage_of(seen), whole=False)

    def used(
        self, usage: TokenUsage, cost_micro_dollars: int | None = None, *, whole: bool = True
    ) -> None:
        """What the answer took and cost, to be told once; it may be less than `whole`. Without a
        cost, that by the target's price."""
        cost = cost_micro_dollars
        if cost is None:
            cost = self.seat.target.cost_of(usage)
        self.seat.state.used(usage, cost, whole=whole)
        if self.seat.gate is not None and self._entry is not None:
            taken = usage.prompt + usage.completion
            self.seat.gate.correct(self._entry, self._clocks.clock(), taken)

    def _judge(self, error: BaseException | None) -> None:
        state, now = self.seat.state, self._clocks.clock()
        if isinstance(error, _LEFT) and self.blame is not None:
            error = self.blame
        if self.overtaken:
            state.overtaken(self._ticket, now)
        elif error is None and not self._lost:
            took_s = None if self._beside else now - self.started
            state.succeeded(self._ticket, took_s, now, self._clocks.wall())
        elif isinstance(error, InvalidRequestError | UpstreamError):
            self._judge_failure(error, now)
        else:
            state.abandoned(self._ticket)

    def _judge_failure(self, error: InvalidRequestError | UpstreamError, now: float) -> None:
        state, gate = self.seat.state, self.seat.gate
        if isinstance(error, UpstreamModelMissingError):
            self._count_failure(error, now)
        elif isinstance(error, UpstreamRejectedError):
            state.rejected(self._ticket)
        elif isinstance(error, UpstreamUnavailableError) and error.resendable:
            # An old connection's end says nothing about the target.
            state.abandoned(self._ticket)
        elif isinstance(error, InvalidRequestError):
            # Told by the translator: the target was never asked.
            state.unasked(self._ticket)
            if gate is not None and self._entry is not None:
                gate.refund(self._entry, now)
        else:
            self._count_failure(error, now)

    def _count_failure(self, error: UpstreamError, now: float) -> None:
        at = self._clocks.wall()
        self.seat.state.failed(self._ticket, error, now, at, beside=self._beside)
