"""How one request fares: what was tried, what was skipped, what to tell if nothing answers."""

import asyncio
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field

from ailb_server.domain.chat import ChatRequest
from ailb_server.domain.errors import (
    AilbError,
    UntranslatableError,
    UpstreamContextLengthError,
    UpstreamError,
    UpstreamModelMissingError,
    UpstreamRateLimitedError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from ailb_server.domain.target import Target
from ailb_server.routing.attempt import Attempt
from ailb_server.routing.capabilities import may_take_longer
from ailb_server.routing.decisions import Tried
from ailb_server.routing.router import Plan
from ailb_server.routing.seat import Seat

# When to come back where nothing says it: the targets are up, as far as is known, and failed.
_SOON_S = 1.0


@dataclass(slots=True)
class Race:
    """A decided one: `overtaken` is the seat that lost to one asked later, if it did."""

    overtaken: Seat | None


@dataclass(slots=True)
class Course:
    """One request under way. `deadline` and `queue_until` are the loop's time.

    `failure` is the one to tell; `refusals` counts those by a rate limit, None once a target was
    down. `unfit` are the targets that have shown, or another has for them, that they cannot take
    this request: they are not asked again, and the request is not theirs to wait for.
    """

    plan: Plan
    request: ChatRequest
    deadline: float
    queue_until: float
    total_s: float
    failure: UpstreamError | None = None
    refusals: int | None = 0
    unfit: set[Seat] = field(default_factory=set)
    race: Race | None = None

    def seats(self) -> Sequence[Seat]:
        """All that are fit, those that could not be asked last: by then they may."""
        planned = self._planned()
        return [seat for seat in planned if seat not in self.unfit] if self.unfit else planned

    def _planned(self) -> Sequence[Seat]:
        plan = self.plan
        return (*plan.order, *plan.skipped) if plan.skipped else plan.order

    def soonest_dark(self, now: float) -> Seat | None:
        """Of the dark targets not tried yet, the one to be tried again soonest."""
        tried = {one.target for one in self.plan.decision.tried}
        dark = [
            seat
            for seat in self.seats()
            if seat.state.dark_until > now
            and seat.target not in tried
            and seat.admits(self.plan.facts, now, last_resort=True)
        ]
        return min(dark, key=lambda seat: seat.state.dark_until, default=None)

    def note(self, target: Target, outcome: str, seconds: float) -> None:
        """Adds to the decision's log."""
        self.plan.decision.tried.append(Tried(target, outcome, seconds))

    def failed(self, seat: Seat, error: UpstreamError) -> None:
        """An attempt has failed. Who could have answered tells more than who could not, and that
        one more than who could not even be asked."""
        if self.failure is None or _weight(error) >= _weight(self.failure):
            self.failure = error
        if isinstance(error, UntranslatableError | UpstreamModelMissingError):
            self.unfit.add(seat)
        elif isinstance(error, UpstreamContextLengthError):
            facts = self.plan.facts
            self.unfit.update(s for s in self._planned() if not may_take_longer(s, seat, facts))
        elif isinstance(error, UpstreamRateLimitedError) and self.refusals is not None:
            self.refusals += 1
        else:
            self.refusals = None

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
        failure = self.failure
        if failure is None or (seats and _weight(failure) < _ANSWERABLE):
            failure = self._nobody(now)
        # Even a dark target is tried by then, as the last resort.
        soonest = min(soonest, failure.retry_after_s or soonest)
        if soonest <= 0 and isinstance(failure, _TEMPORARY):
            soonest = _SOON_S
        if soonest <= 0:
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

    def conclude(self, waited_s: float, error: BaseException | None) -> None:
        """Writes the decision's outcome, however it came."""
        decision = self.plan.decision
        decision.waited_s = waited_s
        if error is None:
            decision.outcome = "answered"
        else:
            known = error.reason.value.lower() if isinstance(error, AilbError) else ""
            decision.outcome = known or "cancelled"


_TEMPORARY = (UpstreamUnavailableError, UpstreamRateLimitedError)
_ANSWERABLE = 2


def _weight(error: UpstreamError) -> int:
    """How much a failure tells the caller, beside others."""
    if isinstance(error, UntranslatableError):
        return 0
    lacks = isinstance(error, UpstreamContextLengthError | UpstreamModelMissingError)
    return 1 if lacks else _ANSWERABLE


def _limited(seat: Seat, now: float) -> bool:
    cooling = seat.state.cool_until > now
    return seat.only_limited(now) and (seat.state.limited or not cooling)
