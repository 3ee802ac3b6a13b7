"""A circuit breaker: keeps requests from a target that fails, and tries it again by one."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from ailb_server.routing.window import SlidingSum


class BreakerState(StrEnum):
    """CLOSED lets all through, OPEN nothing, HALF_OPEN one probe at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """When it opens, and for how long; every further opening without a success lasts twice as long.

    It opens after `in_row` failures, or once `rate` of `min_attempts` or more in `window_s` failed.
    A refused credential opens it at once, for `credential_s` at least: it does not mend by itself.
    A probe that has not been answered after `patience_s` no longer keeps others from trying.
    """

    in_row: int = 5
    rate: float = 0.5
    min_attempts: int = 20
    window_s: float = 30.0
    open_s: float = 5.0
    max_open_s: float = 60.0
    credential_s: float = 60.0
    patience_s: float = 5.0


class Ticket(NamedTuple):
    """An attempt's place in the breaker's history, and in that of its provider's credential."""

    generation: int
    probe: bool
    credential: int = 0


class Breaker:
    """One target's. Times are seconds of one monotonic clock.

    Attempts that began before the last opening do not count after it: a hundred that stalled
    together are one outage, and must not close the door again on a target that has recovered.
    """

    __slots__ = (
        "_attempts",
        "_failures",
        "_generation",
        "_rules",
        "_shut",
        "_trips",
        "failures_in_row",
        "open_until",
        "probe_until",
    )

    def __init__(self, rules: BreakerRules) -> None:
        self._rules = rules
        self._attempts = SlidingSum(rules.window_s, 10)
        self._failures = SlidingSum(rules.window_s, 10)
        self._generation = 0
        self._trips = 0
        self._shut = False
        self.failures_in_row = 0
        self.open_until = 0.0
        # While a probe keeps others away; 0 without one.
        self.probe_until = 0.0

    def state(self, now: float) -> BreakerState:
        """What it is now."""
        if not self._shut:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self.open_until else BreakerState.HALF_OPEN

    def begin(self, now: float) -> Ticket:
        """An attempt begins, as a probe unless it is closed.

        The caller has seen that it may: now is past `open_until` and `probe_until`, or the target
        is the last resort.
        """
        if self._shut:
            self.probe_until = now + self._rules.patience_s
        return Ticket(self._generation, self._shut)

    def answered(self, ticket: Ticket) -> None:
        """The target has begun to answer: enough to close. Its row ends only with `succeeded`."""
        if ticket.probe and ticket.generation == self._generation:
            self._shut = False
            self.open_until = self.probe_until = 0.0

    def succeeded(self, ticket: Ticket, now: float) -> None:
        """An answer came to its end."""
        if ticket.generation == self._generation:
            self.answered(ticket)
            self._attempts.add(now, 1)
            self.failures_in_row = 0
            self._trips = 0

    def failed(self, ticket: Ticket, now: float, *, credential: bool = False) -> None:
        """An attempt failed by the target's fault."""
        if ticket.generation != self._generation:
            return
        self.failures_in_row += 1
        self._attempts.add(now, 1)
        self._failures.add(now, 1)
        if credential or self._shut or self._is_too_much(now):
            self._open(now, credential=credential)

    def abandoned(self, ticket: Ticket) -> None:
        """An attempt ended without telling anything about the target."""
        if ticket.probe and ticket.generation == self._generation:
            self.probe_until = 0.0

    def pardoned(self) -> None:
        """What opened it was mended elsewhere: one attempt may try it at once."""
        self.open_until = self.probe_until = 0.0

    def _is_too_much(self, now: float) -> bool:
        attempts = self._attempts.total(now)
        return self.failures_in_row >= self._rules.in_row or (
            attempts >= self._rules.min_attempts
            and self._failures.total(now) >= attempts * self._rules.rate
        )

    def _open(self, now: float, *, credential: bool) -> None:
        rules = self._rules
        seconds = min(rules.open_s * 2 ** min(self._trips, 30), rules.max_open_s)
        self.open_until = now + (max(seconds, rules.credential_s) if credential else seconds)
        self._trips += 1
        self._generation += 1
        self._shut = True
        self.probe_until = 0.0
        self._attempts.clear()
        self._failures.clear()
