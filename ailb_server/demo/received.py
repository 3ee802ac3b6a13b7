"""What an observer sees of one request: its bytes on arrival, its outcome when it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Outcome(Enum):
    """How a request ended; BROKEN means by a fault or by the server's stop."""

    OPEN = "open"
    FINISHED = "finished"
    ABORTED = "aborted"
    BROKEN = "broken"


@dataclass(slots=True, eq=False)
class Received:
    """One request. `body` is byte for byte what arrived; header names are case-insensitive."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    outcome: Outcome = Outcome.OPEN
    _over: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    @property
    def finished(self) -> bool:
        """The whole answer was handed to the socket."""
        return self.outcome is Outcome.FINISHED

    @property
    def aborted(self) -> bool:
        """The client left before the answer was complete."""
        return self.outcome is Outcome.ABORTED

    def close(self, outcome: Outcome) -> None:
        """Set the outcome, once, and wake whoever waits for it."""
        self.outcome = outcome
        self._over.set()

    async def over(self) -> Outcome:
        """Wait, without a bound, until the request is over; on the server's event loop."""
        await self._over.wait()
        return self.outcome
