"""Shutdown."""

from collections.abc import Callable
from dataclasses import dataclass

from ailb_server.domain.errors import InvalidRequestError
from marchproxy import module_pb2 as pb

MAX_DRAIN_S = 3600
# What an end that is not graceful leaves to this very answer.
SOON_S = 1.0


@dataclass(frozen=True, slots=True)
class EndCalls:
    """See `EndAnswers`. `end` begins the end of the process: a drain of so many seconds, of
    DRAIN_TIMEOUT_S for None, then status 0."""

    end: Callable[[float | None], None]

    async def shutdown(self, request: pb.ShutdownRequest) -> str:
        """Returns as the drain begins, which waits for this answer too."""
        if not 0 <= request.timeout_seconds <= MAX_DRAIN_S:
            raise InvalidRequestError(
                f"`timeout_seconds` must be from 0 (DRAIN_TIMEOUT_S) to {MAX_DRAIN_S}.",
                param="timeout_seconds",
            )
        if not request.graceful:
            self.end(SOON_S)
            return "This instance ends now: what still runs is ended in a moment."
        self.end(float(request.timeout_seconds) or None)
        return "This instance takes nothing new, lets run what runs, and ends."
