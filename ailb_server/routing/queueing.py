"""Where requests wait while every target of theirs is limited by its provider."""

import asyncio
from collections.abc import Callable

from ailb_server.domain.errors import OverloadedError
from ailb_server.routing.course import Course
from ailb_server.routing.seat import Seat

# After a refusal, doubled with each: a provider that says "come back at once" is not hammered.
_FLOOR_S = 0.1
_SHORTEST_S = 0.01
# Those who wait for one moment do not all come at it.
_STAGGER_S = 0.01


class Queue:
    """A bounded number of waiting requests."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.waiting = 0

    async def wait(self, course: Course, clock: Callable[[], float]) -> bool:
        """Waits until a target may be asked again; False, at once, if that is not worth it.

        It is not if a target is down rather than limited, or if the wait would exceed the course's
        limits. Raises OverloadedError if it is, and no place is free.
        """
        now, facts = clock(), course.plan.facts
        seats = course.seats()
        if course.refusals is None or not seats or not all(s.only_limited(now) for s in seats):
            return False
        seat = min(seats, key=lambda seat: seat.wait_s(facts, now))
        floor = _FLOOR_S * 2.0 ** (course.refusals - 1) if course.refusals else _SHORTEST_S
        wait = max(seat.wait_s(facts, now), floor) + self.waiting * _STAGGER_S
        left = course.queue_until - asyncio.get_running_loop().time()
        if wait > left:
            return False
        if self.waiting >= self.places:
            raise OverloadedError(
                "As many requests as may do wait for providers' rate limits.", retry_after_s=wait
            )
        self.waiting += 1
        try:
            await _until(seat, now, wait)
        finally:
            self.waiting -= 1
        return True


async def _until(seat: Seat, now: float, seconds: float) -> None:
    if seat.gate is not None and seat.state.ready_at <= now:
        await seat.gate.freed(seconds)
    else:
        await asyncio.sleep(seconds)
