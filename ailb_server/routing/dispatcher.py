"""Tries a plan's targets until one gives its first valid chunk."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from ailb_server.domain.chat import ChatChunk, ChatRequest, TokenUsage
from ailb_server.domain.errors import (
    UntranslatableError,
    UpstreamError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from ailb_server.domain.ports import ChatProvider, PooledProvider, ProviderAnswer
from ailb_server.domain.target import Target
from ailb_server.routing.attempt import Attempt, NotAdmittedError
from ailb_server.routing.budget import RetryBudget
from ailb_server.routing.course import Course, Race
from ailb_server.routing.ledger import Ledger
from ailb_server.routing.operations import opened
from ailb_server.routing.queueing import Queue
from ailb_server.routing.race import Opened, Opening, first_answer
from ailb_server.routing.roster import Roster
from ailb_server.routing.router import Plan
from ailb_server.routing.seat import Seat
from ailb_server.routing.use import Use
from ailb_server.telemetry.tracing import Current, Span

# Tells of each attempt's first chunk or failure: the target, seconds, and the reason of a failure.
AttemptSeen = Callable[[Target, float, str | None], None]
# A provider bounds its own attempt; what began later than this needs bounding from here.
_LATE_S = 0.05

_log = logging.getLogger(__name__)


class Used(Protocol):
    """See `Attempt.used`."""

    def __call__(
        self, usage: TokenUsage, cost_micro_dollars: int | None = None, *, whole: bool = True
    ) -> None:
        """Tells it."""
        ...


@dataclass(slots=True)
class Answer:
    """A target's answer, begun: `first` is valid, `rest` may still fail.

    `waited_s` is the time spent on upstreams, all attempts together, until `first`. `used` is to be
    told, once, what the answer took, as far as it came.
    """

    target: Target
    first: ChatChunk
    rest: AsyncIterator[ChatChunk]
    waited_s: float
    used: Used
    ignored: tuple[str, ...] = ()
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class DispatchRules:
    """Seconds. `total_s` bounds a request, all its attempts together; `queue_s` its wait for
    providers that limit AILB's rate; at most `queue_places` requests wait so."""

    total_s: float = 600.0
    queue_s: float = 30.0
    queue_places: int = 100


class Dispatcher:
    """Opens plans at the providers."""

    def __init__(
        self,
        roster: Roster,
        ledger: Ledger,
        attempt_seen: AttemptSeen,
        rules: DispatchRules | None = None,
        budget: RetryBudget | None = None,
    ) -> None:
        self._roster = roster
        self._ledger = ledger
        self._attempt_seen = attempt_seen
        self._rules = rules or DispatchRules()
        self._budget = budget or RetryBudget(clock=ledger.clock)
        self._queue = Queue(self._rules.queue_places)

    @property
    def waiting(self) -> int:
        """Requests that wait for providers' rate limits."""
        return self._queue.waiting

    def follow(self, rules: DispatchRules) -> None:
        """Holds to other rules from the next request on."""
        self._rules = rules
        self._queue.places = rules.queue_places

    def open(
        self, plan: Plan, request: ChatRequest, time_left_s: float | None = None
    ) -> AbstractAsyncContextManager[Answer]:
        """The first answer that begins; before that, every failover error moves to the next target.

        `time_left_s` is the caller's own deadline, if it has one: nothing waits in vain beyond it
        (the call itself ends by cancellation). Raises UpstreamError if none answers. Leaving the
        context ends the upstream call.
        """
        return _Dispatched(self, plan, request, time_left_s)

    async def begun(
        self, plan: Plan, request: ChatRequest, started: float, time_left_s: float | None
    ) -> tuple[Course, Opened]:
        """As `open`; `started` is of the loop's clock. Who calls leaves what was opened."""
        self._budget.request()
        course = self._course(plan, request, started, time_left_s)
        clock = self._ledger.clock
        began, failure = clock(), None
        try:
            opened_one = await self._within_total(course)
        except BaseException as error:
            failure = error
            raise
        finally:
            course.conclude(clock() - began, failure)
        _tell_failover(course, opened_one.attempt.seat.target)
        return course, opened_one

    def _course(
        self, plan: Plan, request: ChatRequest, started: float, time_left_s: float | None
    ) -> Course:
        rules = self._rules
        queue_s = min(rules.queue_s, rules.total_s)
        queue_s = queue_s if time_left_s is None else min(queue_s, time_left_s)
        return Course(plan, request, started + rules.total_s, started + queue_s, rules.total_s)

    async def _within_total(self, course: Course) -> Opened:
        try:
            async with asyncio.timeout_at(course.deadline) as limit:
                return await self._until_answered(course)
        except TimeoutError:
            if not limit.expired():
                raise
            raise UpstreamTimeoutError("No provider answered in time.") from None

    async def _until_answered(self, course: Course) -> Opened:
        while True:
            begun = await self._one_round(course) or await self._last_resort(course)
            if begun is not None:
                return begun
            if not await self._queue.wait(course, self._ledger.clock):
                raise course.verdict(self._ledger.clock())

    async def _one_round(self, course: Course) -> Opened | None:
        """Asks each target that may be asked, once."""
        left = list(course.seats())
        while left:
            seat = left.pop(0)
            if seat in course.unfit:
                continue
            if course.failure is not None and not self._may_follow(seat):
                course.note(seat.target, "retry_budget", 0.0)
                return None
            try:
                return await self._hedged(course, seat, left)
            except NotAdmittedError:
                continue
            except UpstreamError as error:
                if not error.failover:
                    raise
        return None

    async def _last_resort(self, course: Course) -> Opened | None:
        """Tries the target that would be tried again soonest, rather than nobody."""
        now = self._ledger.clock()
        seat = course.soonest_dark(now)
        if seat is None or (course.failure is not None and not self._budget.take()):
            return None
        try:
            return await self._attempt(course, seat, last_resort=True)
        except NotAdmittedError:
            return None
        except UpstreamError as error:
            if not error.failover:
                raise
            return None

    def _may_follow(self, seat: Seat) -> bool:
        """A target that nothing speaks against takes what another could not; beyond that, the
        budget keeps a general outage from multiplying the load."""
        return seat.state.well() or self._budget.take()

    async def _hedged(self, course: Course, seat: Seat, left: list[Seat]) -> Opened:
        """Asks the seat and, if it is late, one more of those `left`, which is then out of them."""
        opening = self._resent(course, seat)
        after_s = course.plan.hedge_after_s
        if after_s is None:
            return await opening

        def hedge() -> Opening | None:
            other = next((seat for seat in left if self._may_hedge(course, seat)), None)
            if other is None or not self._budget.take():
                return None
            left.remove(other)
            return self._resent(course, other)

        def decided(hedge_won: bool) -> None:  # noqa: FBT001
            course.race = Race(seat if hedge_won else None)

        return await first_answer(opening, hedge, after_s, decided)

    def _may_hedge(self, course: Course, seat: Seat) -> bool:
        """Whether the seat may be asked at once: a hedge takes no place that others wait for."""
        if seat in course.unfit or not seat.admits(course.plan.facts, self._ledger.clock()):
            return False
        member = self._roster.member(seat.target.provider)
        if member is None:
            return False
        provider = member.provider
        return not isinstance(provider, PooledProvider) or provider.has_room()

    async def _resent(self, course: Course, seat: Seat) -> Opened:
        """One attempt; once more at once if all that failed was an old connection, unread."""
        try:
            return await self._attempt(course, seat)
        except UpstreamUnavailableError as error:
            if not error.resendable or not self._budget.take():
                raise
        return await self._attempt(course, seat)

    async def _attempt(self, course: Course, seat: Seat, *, last_resort: bool = False) -> Opened:
        await seat.supplied(course.plan.facts)
        attempt = self._ledger.attempt(seat, course.plan.facts, last_resort=last_resort)
        target = seat.target
        member = self._roster.member(target.provider)
        if member is None:
            # It was removed after the plan was made.
            course.unfit.add(seat)
            raise NotAdmittedError("removed")
        use = Use(member, attempt)
        provider = use.enter(course.request)
        try:
            answer, first = await self._first(course, attempt, use, provider)
        except BaseException as error:
            await use.leave(error)
            raise
        seconds = attempt.answered()
        course.note(target, "answered", seconds)
        self._attempt_seen(target, seconds, None)
        return Opened(attempt, first, answer, use)

    async def _first(
        self, course: Course, attempt: Attempt, use: Use, provider: ChatProvider
    ) -> tuple[ProviderAnswer, ChatChunk]:
        """The answer, and its first valid chunk."""
        target = attempt.seat.target
        try:
            with Current(attempt.span):
                answer = await use.opened(opened(provider, course.request, target.model))
                first = await anext(answer.chunks, None)
            if first is None:
                raise UpstreamUnavailableError(
                    "The provider's answer is empty.", provider=target.provider
                )
        except UpstreamError as error:
            course.failed(attempt.seat, error)
            self._ended(course, attempt, error)
            raise
        except asyncio.CancelledError:
            attempt.blame = course.blame_for(attempt)
            self._ended(course, attempt, attempt.blame)
            raise
        return answer, first

    def _ended(self, course: Course, attempt: Attempt, error: UpstreamError | None) -> None:
        """Tells of an attempt that did not answer; without an error it was abandoned."""
        target, seconds = attempt.seat.target, attempt.waited_s()
        reason = error.reason.value if error else "ABANDONED"
        course.note(target, reason.lower(), seconds)
        if error is None and course.race is not None:
            attempt.overtaken = course.race.overtaken is attempt.seat
            attempt.lost()
        # Neither who was not asked nor who was left has failed.
        failed = not (error is None or isinstance(error, UntranslatableError))
        if failed:
            self._attempt_seen(target, seconds, reason)
        level = logging.WARNING if failed else logging.DEBUG
        name = f"{target.provider}/{target.model}"
        _log.log(level, "%s did not answer after %.3f s: %s", name, seconds, reason)


class _Dispatched:
    """See `Dispatcher.open`."""

    __slots__ = ("_asked", "_bounded", "_dispatcher", "_time_left_s", "_use")

    def __init__(
        self,
        dispatcher: Dispatcher,
        plan: Plan,
        request: ChatRequest,
        time_left_s: float | None,
    ) -> None:
        self._dispatcher = dispatcher
        self._asked = plan, request
        self._time_left_s = time_left_s
        self._bounded: AsyncGenerator[ChatChunk, None] | None = None

    async def __aenter__(self) -> Answer:
        """Raises UpstreamError."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        course, begun = await self._dispatcher.begun(*self._asked, started, self._time_left_s)
        self._use = begun.use
        now, attempt, answer = loop.time(), begun.attempt, begun.answer
        rest = answer.chunks
        if now - attempt.waited_s() - started > _LATE_S:
            rest = self._bounded = _bounded(rest, course.deadline)
        target, waited_s = attempt.seat.target, now - started
        used, ignored = attempt.used, answer.ignored
        return Answer(target, begun.first, rest, waited_s, used, ignored, attempt.span)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._bounded is not None:
                await self._bounded.aclose()
        finally:
            await self._use.leave(error)


def _tell_failover(course: Course, target: Target) -> None:
    tried = course.plan.decision.tried
    if len(tried) > 1 and _log.isEnabledFor(logging.INFO):
        others = (one for one in tried if one.outcome != "answered")
        told = ", ".join(f"{o.target.provider}/{o.target.model} ({o.outcome})" for o in others)
        model = course.plan.decision.model
        _log.info("%s: %s/%s answers, after %s", model, target.provider, target.model, told)


async def _bounded(
    chunks: AsyncIterator[ChatChunk], deadline: float
) -> AsyncGenerator[ChatChunk, None]:
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                chunk = await anext(chunks, None)
        except TimeoutError:
            raise UpstreamTimeoutError("The answer took longer than it may.") from None
        if chunk is None:
            return
        yield chunk
