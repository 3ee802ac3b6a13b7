"""Removes sessions that nobody has used for long."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from ailb_server.domain.errors import StorageUnavailableError
from ailb_server.memory.stores import SweepStore
from ailb_server.memory.telling import MemoryObserver

_log = logging.getLogger(__name__)
_PAUSE_S = 0.1


def _now() -> datetime:
    return datetime.now(UTC)


class Sweeping:
    """One task an instance; the store lets one instance at a time work."""

    def __init__(
        self,
        store: SweepStore,
        observer: MemoryObserver,
        ttl: timedelta,
        every_s: float = 600.0,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._store = store
        self._observer = observer
        self._ttl = ttl
        self._every_s = every_s
        self._now = now

    async def run(self) -> None:
        """Sweeps at intervals; never returns."""
        while True:
            try:
                await self.sweep()
            except StorageUnavailableError:
                # Memory tells of outages elsewhere; the next turn comes.
                await asyncio.sleep(0)
            except Exception as error:  # noqa: BLE001 - this task must not end for good
                _log.error("memory: stale sessions stay: %s", type(error).__qualname__)
            await asyncio.sleep(self._every_s)

    async def sweep(self) -> int:
        """Removes all that are past their time, batch by batch; how many that were."""
        before = self._now() - self._ttl
        total = 0
        while True:
            removed = await self._store.sweep(before)
            total += removed.sessions
            if not removed.more:
                break
            # Others' statements come first.
            await asyncio.sleep(_PAUSE_S)
        if total:
            self._observer.removed(total)
            _log.info("memory: removed %d sessions past their time", total)
        return total
