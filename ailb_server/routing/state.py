"""What this instance has seen of one target, and whether it may be asked now."""

import logging
import math
from dataclasses import dataclass, field

from ailb_server.domain.chat import TokenUsage
from ailb_server.domain.errors import (
    UpstreamError,
    UpstreamMisconfiguredError,
    UpstreamRateLimitedError,
)
from ailb_server.routing.breaker import Breaker, BreakerRules, BreakerState, Ticket
from ailb_server.routing.credential import Credential
from ailb_server.routing.ewma import Ewma, PeakEwma
from ailb_server.routing.histogram import Histogram

# Where a provider that limits AILB does not say until when. Short and never longer: a request too
# large for the limit is refused each time, and must not keep all others away.
DEFAULT_COOL_S = 1.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Totals:
    """Attempts and what they took, since the start. Times of day are seconds since 1970."""

    attempts: int = 0
    successful: int = 0
    failed: int = 0
    rejected: int = 0
    abandoned: int = 0
    last_success_at: float | None = None
    last_failure_at: float | None = None
    last_failure: str = ""
    usage: TokenUsage = field(default_factory=TokenUsage)
    cost_micro_dollars: int = 0


class TargetState:
    """One target's. `ready_at` is the one number that a plan reads: before it, it is skipped."""

    __slots__ = (
        "_refused",
        "answered_at",
        "breaker",
        "completion",
        "cool_until",
        "credential",
        "first_chunk",
        "in_flight",
        "latencies",
        "latency",
        "limited",
        "name",
        "ready_at",
        "totals",
        "ttfts",
        "waiting",
    )

    def __init__(self, name: str, rules: BreakerRules, credential: Credential) -> None:
        self.name = name
        self.in_flight = 0
        self.breaker = Breaker(rules)
        self.credential = credential
        self.answered_at = -math.inf
        self.cool_until = 0.0
        # Whether it cools because its provider limits AILB's rate.
        self.limited = False
        self.ready_at = 0.0
        self.totals = Totals()
        self.latency = Ewma()
        self.latencies = Histogram()
        self.ttfts = Histogram()
        self.completion = Ewma()
        # By whether it was streamed: the first chunk of an unstreamed answer is all of it.
        self.first_chunk = {True: PeakEwma(), False: PeakEwma()}
        # When the attempts began that still wait for their first chunk, oldest first; by the same.
        self.waiting: dict[bool, dict[int, float]] = {True: {}, False: {}}
        # Whether what opened the circuit is that its provider refused it AILB's credential.
        self._refused = False

    @property
    def consecutive_failures(self) -> int:
        """Failures that speak against the target, since its last whole answer."""
        return self.breaker.failures_in_row

    def admits(self, now: float) -> bool:
        """Whether it may be asked."""
        return self.ready_at <= now and self.breaker.probe_until <= now

    def admits_last_resort(self, now: float) -> bool:
        """Whether a request that nobody else can answer may try it, though its circuit is open.

        One at a time, so that it costs a target in trouble next to nothing; never while it cools.
        """
        probe_until = max(self.breaker.probe_until, self.credential.probe_until)
        return self.cool_until <= now and probe_until <= now

    @property
    def dark_until(self) -> float:
        """Before it, its circuit is open or its provider's credential refused."""
        return max(self.breaker.open_until, self.credential.until)

    def only_limited(self, now: float) -> bool:
        """What keeps it from being asked, if anything does, is its provider's limit alone."""
        breaker = self.breaker
        return max(breaker.open_until, breaker.probe_until, self.credential.blocked_until) <= now

    def breaker_state(self, now: float) -> BreakerState:
        """Of its circuit, which a refused credential keeps open too."""
        if self.dark_until > now:
            return BreakerState.OPEN
        refused = self.credential.refused
        return BreakerState.HALF_OPEN if refused else self.breaker.state(now)

    def well(self) -> bool:
        """Nothing speaks against it."""
        return self.breaker.failures_in_row == 0

    def blocked_by(self, now: float) -> str:
        """Why it may not be asked: `credential`, `open`, `cooling` or `probing`; else empty."""
        if self.dark_until > now:
            refused = self._refused or self.credential.until > now
            return "credential" if refused else "open"
        if self.cool_until > now:
            return "cooling"
        return "" if self.only_limited(now) else "probing"

    def refresh(self) -> None:
        """Works `ready_at` out anew."""
        self.ready_at = max(self.cool_until, self.breaker.open_until, self.credential.blocked_until)

    def pardoned(self) -> None:
        """See `Dependent.pardoned`."""
        if self._refused:
            self._refused = False
            self.breaker.pardoned()
            self.refresh()

    def begin(self, now: float) -> Ticket:
        """An attempt begins; see `Breaker.begin`."""
        ticket = self.breaker.begin(now)
        generation = self.credential.begin(now)
        return ticket._replace(credential=generation) if generation else ticket

    def expected_first_chunk_s(self, now: float, *, stream: bool) -> float:
        """Peak-EWMA of the time to the first chunk; infinite if unknown.

        At least as long as the longest wait that lasts now: a target that hangs gives no samples.
        """
        value = self.first_chunk[stream].value
        if value is None:
            return math.inf
        waiting = self.waiting[stream]
        return max(value, now - next(iter(waiting.values()))) if waiting else value

    def answered(self, ticket: Ticket, waited_s: float, now: float, *, stream: bool) -> None:
        """The first chunk is there."""
        self._alive(ticket)
        self.answered_at = now
        self.first_chunk[stream].observe(waited_s, now)
        if stream:
            self.ttfts.observe(waited_s)
        self.credential.answered(ticket.credential)
        if self._refused and self.breaker.state(now) is BreakerState.CLOSED:
            self._refused = False
            _log.warning("target %s: AILB's credential may use it again", self.name)

    def succeeded(self, ticket: Ticket, took_s: float | None, now: float, at: float) -> None:
        """A whole answer; without its seconds one beside chats, which tells nothing of them."""
        if took_s is None:
            self._told_nothing(ticket)
        else:
            self.breaker.succeeded(ticket, now)
            self.latency.observe(took_s)
            self.latencies.observe(took_s)
        self.totals.successful += 1
        self.totals.last_success_at = at

    def failed(
        self, ticket: Ticket, error: UpstreamError, now: float, at: float, *, beside: bool = False
    ) -> None:
        """Counts, cools and opens, as the error's class says; `beside` chats, only a refused
        credential opens."""
        self.totals.failed += 1
        self.totals.last_failure_at = at
        self.totals.last_failure = error.reason.value
        if error.darkens and not (beside and not isinstance(error, UpstreamMisconfiguredError)):
            self._darken(ticket, error, now)
        else:
            self._told_nothing(ticket)
        self._cool(error, now)
        self.refresh()

    def _cool(self, error: UpstreamError, now: float) -> None:
        limited, seconds = isinstance(error, UpstreamRateLimitedError), error.retry_after_s
        if limited and seconds is None:
            seconds = DEFAULT_COOL_S
        if seconds is not None:
            self.limited = limited
            self.cool_until = max(self.cool_until, now + seconds)

    def _darken(self, ticket: Ticket, error: UpstreamError, now: float) -> None:
        current = self.credential.is_current(ticket.credential)
        if current and isinstance(error, UpstreamMisconfiguredError):
            self.breaker.failed(ticket, now, credential=True)
            whole = self.credential.failed(self, error, now)
            if not whole and not self._refused:
                _log.error("target %s: its provider forbids it to AILB's credential", self.name)
            self._refused = True
            return
        self._speaks_against(ticket, error.reason.value, now)

    def _speaks_against(self, ticket: Ticket, reason: str, now: float) -> None:
        before = self.breaker.open_until
        self.breaker.failed(ticket, now)
        self.credential.abandoned(ticket.credential)
        if self.breaker.open_until != before and not self._refused:
            seconds = self.breaker.open_until - now
            _log.warning("target %s: circuit open for %.1f s after %s", self.name, seconds, reason)

    def rejected(self, ticket: Ticket) -> None:
        """It refused a caller's request: alive, and no fault of its own."""
        self.totals.rejected += 1
        self._alive(ticket)
        self.credential.abandoned(ticket.credential)

    def unasked(self, ticket: Ticket) -> None:
        """A caller's request could not be sent to it: as if it had not been tried."""
        self.totals.attempts -= 1
        self._told_nothing(ticket)

    def _alive(self, ticket: Ticket) -> None:
        self.breaker.answered(ticket)
        self.refresh()

    def _told_nothing(self, ticket: Ticket) -> None:
        self.breaker.abandoned(ticket)
        self.credential.abandoned(ticket.credential)

    def abandoned(self, ticket: Ticket) -> None:
        """The caller left, another target was faster, or AILB failed."""
        self.totals.abandoned += 1
        self._told_nothing(ticket)

    def overtaken(self, ticket: Ticket, now: float) -> None:
        """A target that was asked later was faster: one that hangs fails in no other way then."""
        self.totals.abandoned += 1
        self._speaks_against(ticket, "being overtaken by hedges", now)
        self.refresh()

    def waited_in_vain(self, seconds: float, now: float, *, stream: bool) -> None:
        """So long at least its first chunk would have taken."""
        known = self.first_chunk[stream]
        if known.value is not None and seconds > known.value:
            known.observe(seconds, now)

    def used(self, usage: TokenUsage, cost_micro_dollars: int, *, whole: bool) -> None:
        """Tokens and cost of an answer; only a `whole` one tells how long answers are."""
        old = self.totals.usage
        self.totals.usage = TokenUsage(
            prompt=old.prompt + usage.prompt,
            completion=old.completion + usage.completion,
            cached=old.cached + usage.cached,
            cache_write=old.cache_write + usage.cache_write,
            reasoning=old.reasoning + usage.reasoning,
        )
        self.totals.cost_micro_dollars += cost_micro_dollars
        if whole:
            self.completion.observe(usage.completion)
