"""What counts as an outage of Postgres, as opposed to a fault of a statement, and how it is met."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import asyncpg

from ailb_server.domain.errors import StorageUnavailableError

T = TypeVar("T")

_log = logging.getLogger(__name__)

OUTAGES: tuple[type[Exception], ...] = (
    # Refused, reset, no such socket, no such host; and, in Python, every timeout.
    OSError,
    # Class 08, and what asyncpg itself raises when the connection breaks under a statement.
    asyncpg.PostgresConnectionError,
    # A server killed under a statement: "cannot switch to state 12" and the like.
    asyncpg.InternalClientError,
    # Class 57: shutting down, starting up, crashed, statement timeout.
    asyncpg.OperatorInterventionError,
    # Class 53: too many connections, out of memory, disk full.
    asyncpg.InsufficientResourcesError,
    # Class 58: I/O errors of the server's machine.
    asyncpg.PostgresSystemError,
    # The server we knew became a standby.
    asyncpg.ReadOnlySQLTransactionError,
)
"""Errors that another try, later, may not meet."""

_RETRY_AFTER_S = 1.0
_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 2.0


class StoreUnavailableError(RuntimeError):
    """The store cannot be opened; the message names it, without user or password."""


def storage_unavailable() -> StorageUnavailableError:
    """What a caller of the API may know of an outage; raise it from its cause."""
    return StorageUnavailableError("The store is unavailable.", retry_after_s=_RETRY_AFTER_S)


@dataclass(frozen=True)
class Backoff:
    """Waits between tries: exponential, with jitter. The fields are for tests."""

    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random
    """From 0 to 1."""

    async def retry(self, attempt: Callable[[], Awaitable[T]], timeout_s: float, place: str) -> T:
        """The result of `attempt`, tried again while there is an outage.

        `place` says where the store is. Raises `StoreUnavailableError` when `timeout_s` have
        passed, and at once for an error that waiting does not mend, such as a wrong password.
        """
        deadline = self.clock() + timeout_s
        delay_s = _FIRST_DELAY_S
        while True:
            try:
                return await attempt()
            except (*OUTAGES, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                self._give_up_unless_it_may_pass(error, deadline, timeout_s, place)
            if delay_s == _FIRST_DELAY_S:
                _log.warning("Postgres at %s is not reachable yet", place)
            await self.sleep(delay_s * (0.5 + self.jitter() / 2))
            delay_s = min(2 * delay_s, _LONGEST_DELAY_S)

    def _give_up_unless_it_may_pass(
        self, error: Exception, deadline: float, timeout_s: float, place: str
    ) -> None:
        if not isinstance(error, OUTAGES):
            raise refusal(place, error) from error
        if self.clock() >= deadline:
            raise StoreUnavailableError(
                f"Postgres at {place} was not reachable for {timeout_s:g} s: {reason(error)}"
            ) from error


def refusal(place: str, error: Exception) -> StoreUnavailableError:
    """For a server that is there and does not let us in, or a DSN that asyncpg cannot use."""
    return StoreUnavailableError(f"Postgres at {place} cannot be used: {reason(error)}")


def reason(error: Exception) -> str:
    """One line; neither asyncpg nor the system put passwords into their messages."""
    text = " ".join(str(error).split())
    return text or type(error).__name__
