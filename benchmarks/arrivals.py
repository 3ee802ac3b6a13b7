"""An open loop: requests come when they come, whatever became of those before."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

# Beyond this many, what is measured is a queue of ours.
_MAX_WAITING = 10_000


class Sender(Protocol):
    """A connection without a request in flight."""

    def send(self, since_ns: int = 0) -> None:
        """Sends the next request, which should have been sent at `since_ns`, or now."""


class Arrivals:
    """Sends at random moments, `rate` a second in the mean (a Poisson process, always the same).

    A request that finds no connection free waits for one, and its waiting counts as its latency.
    """

    def __init__(self, rate: float, running: Callable[[], bool]) -> None:
        self._rate = rate
        self._running = running
        self._idle: list[Sender] = []
        self._waiting: deque[int] = deque()

    @property
    def waiting(self) -> int:
        """Requests that were due and not sent."""
        return len(self._waiting)

    async def run(self, connections: Sequence[Sender]) -> None:
        """Until it is over."""
        self._idle.extend(connections)
        chance = random.Random(1)  # noqa: S311 - the same moments in every run
        due = time.perf_counter()
        while self._running():
            due += chance.expovariate(self._rate)
            pause = due - time.perf_counter()
            if pause > 0:
                await asyncio.sleep(pause)
            if self._running():
                self._issue()

    def free(self, connection: Sender) -> None:
        """Takes the connection back."""
        if self._waiting and self._running():
            connection.send(self._waiting.popleft())
        else:
            self._idle.append(connection)

    def _issue(self) -> None:
        if self._idle:
            self._idle.pop().send()
        elif len(self._waiting) < _MAX_WAITING:
            self._waiting.append(time.perf_counter_ns())
