"""Keeps an instance's rate limits as the store has them."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ailb_server.access.rate_limits import RateLimitBook, RateLimits
from ailb_server.domain.errors import StorageUnavailableError
from ailb_server.domain.rate_limit import KeptRateLimit

_log = logging.getLogger(__name__)


class RateLimitSource(Protocol):
    """Where they are kept."""

    async def enabled(self) -> Sequence[KeptRateLimit]:
        """Those in force. Raises StorageUnavailableError."""
        ...


@dataclass(slots=True)
class RateLimitWatch:
    """Reads them when a change is announced, and every `poll_s` for an announcement that is lost.

    While the store is away those known last stay in force. `changed` are told of each new set.
    """

    source: RateLimitSource
    book: RateLimitBook
    poll_s: float = 5.0
    pause_s: float = 0.25
    answer_s: float = 5.0
    changed: list[Callable[[RateLimits], None]] = field(default_factory=list)
    _wake: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _task: "asyncio.Task[None] | None" = field(init=False, default=None)

    async def start(self) -> None:
        """Returns once they are known, or the store has not told them in time."""
        await self.read()
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Ends the watch."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def heard(self, payload: str = "") -> None:
        """They changed, or may have."""
        del payload
        self._wake.set()

    async def read(self) -> bool:
        """Whether the store told them."""
        try:
            async with asyncio.timeout(self.answer_s):
                found = RateLimits.of(await self.source.enabled())
        except (StorageUnavailableError, TimeoutError):
            return False
        except Exception:  # noqa: BLE001
            # A fault of ours must not end the watch, nor pass unseen.
            _log.exception("the rate limits could not be read")
            return False
        if found != self.book.current:
            self.book.current = found
            for tell in self.changed:
                tell(found)
        return True

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.poll_s):
                    await self._wake.wait()
            self._wake.clear()
            if not await self.read():
                await asyncio.sleep(self.pause_s)
                self._wake.set()
