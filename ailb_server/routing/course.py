"""How one request fares: what was tried, what was skipped, what to tell if nothing answers."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass

from ailb_server.domain.chat import ChatRequest
from ailb_server.domain.errors import (
    AilbError,
    UntranslatableError,
    UpstreamError,
    UpstreamRateLimitedError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from ailb_server.domain.target import Target
from ailb_server.routing.attempt import Attempt
from ailb_server.routing.decisions import Tried
from ailb_server.routing.ledger import Ledger
from ailb_server.routing.router import Plan
from ailb_server.routing.seat import Seat


@dataclass(slots=True)
class Course:
    """One request under way. `deadline` and `queue_until` are the loop's time.

    `failure` is the last one; `refusals` counts those by a rate limit, None once there was another.
    """

    plan: Plan
    request: ChatRequest
    deadline: float
    queue_until: float
    total_s: float
    failure: UpstreamError | None = None
    refusals: int | None = 0

    def seats(self) -> Sequence[Seat]:
        """All of the plan, those that could not be asked last: by then they may."""
        return (*self.plan.order, *self.plan.skipped) if self.plan.skipped else self.plan.order

    def soonest_dark(self, now: float) -> Seat | None:
        """Of the targets with an open circuit not tried yet, the one to be tried again soonest."""
        tried = {one.target for one in self.plan.decision.tried}
        dark = [
            seat
            for seat in self.seats()
            if seat.state.breaker.open_until > now
            and seat.target not in tried
            and seat.admits(self.plan.facts, now, last_resort=True)
        ]
        return min(dark, key=lambda seat: seat.state.breaker.open_until, default=None)

    def note(self, target: Target, outcome: str, seconds: float) -> None:
        """Adds to the decision's log."""
        self.plan.decision.tried.append(Tried(target, outcome, seconds))

    def failed(self, error: UpstreamError) -> None:
        """An attempt has failed. Who could have answered tells more than who could not be asked."""
        if self.failure is None or not isinstance(error, UntranslatableError):
            self.failure = error
        limited = isinstance(error, UpstreamRateLimitedError) and self.refusals is not None
        self.refusals = (self.refusals or 0) + 1 if limited else None

    def blame_for(self, attempt: Attempt) -> UpstreamError | None:
        """The target's timeout, if this cancellation is the deadline's and the target had at least
        half of the time; else its end is not its fault."""
        over = asyncio.get_running_loop().time() >= self.deadline
        if over and attempt.waited_s() >= self.total_s / 2:
            return UpstreamTimeoutError("The provider did not answer in time.")
        return None

    def verdict(self, now: float) -> UpstreamError:
        """What to tell, and when to come back, after no target has answered."""
        facts, seats = self.plan.facts, self.seats()
        soonest = min((seat.wait_s(facts, now) for seat in seats), default=0.0)
        failure = self.failure or self._nobody(now)
        if failure.retry_after_s is not None or soonest <= 0:
            return failure
        # The failure itself tells what the provider said, this what the caller is told.
        told = copy(failure)
        told.retry_after_s = soonest
        told.__cause__ = failure
        return told

    def _nobody(self, now: float) -> UpstreamError:
        model, seats = self.request.model, self.seats()
        if seats and all(_limited(seat, now) for seat in seats):
            return UpstreamRateLimitedError("Every provider limits AILB's rate now.", model=model)
        return UpstreamUnavailableError("No target could answer.", model=model)

    @contextmanager
    def concluded(self, ledger: Ledger) -> Iterator[None]:
        """Writes the decision's outcome, however it comes."""
        decision, started = self.plan.decision, ledger.clock()
        outcome = "cancelled"
        try:
            yield
            outcome = "answered"
        except AilbError as error:
            outcome = error.reason.value.lower()
            raise
        finally:
            decision.outcome = outcome
            decision.waited_s = ledger.clock() - started


def _limited(seat: Seat, now: float) -> bool:
    cooling = seat.state.cool_until > now
    return seat.only_limited(now) and (seat.state.limited or not cooling)
