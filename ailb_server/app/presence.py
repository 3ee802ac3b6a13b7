"""Tells the store every few seconds that this instance lives, off every request's path."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from ailb_server.domain.errors import AilbError, StorageUnavailableError
from ailb_server.domain.module import Beat, Instance

BEAT_S = 5.0
# Three are missed before an instance passes for dead.
SILENT_S = 3 * BEAT_S
_LEAVE_S = 2.0
_SURELY = 2

_log = logging.getLogger(__name__)


class Instances(Protocol):
    """Where instances are known. Raises StorageUnavailableError."""

    async def beat(self, me: Instance) -> Beat:
        """Writes this instance's row."""
        ...

    async def leave(self, me: Instance) -> None:
        """Removes it."""
        ...


@dataclass(slots=True)
class Presence:
    """`me` tells of this instance, `heard` is told what each heartbeat brings back. Once there is
    `news` the next one comes at once. While the store is away heartbeats are left out."""

    instances: Instances
    me: Callable[[], Awaitable[Instance]]
    heard: Callable[[Beat], Awaitable[None]]
    news: asyncio.Event = field(default_factory=asyncio.Event)
    beat_s: float = BEAT_S
    _task: "asyncio.Task[None] | None" = field(init=False, default=None)
    _doubles: int = field(init=False, default=0)

    def start(self) -> None:
        """Begins, until `close`."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Ends, and removes the row if the store answers soon."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait((self._task,))
        with contextlib.suppress(TimeoutError, StorageUnavailableError):
            async with asyncio.timeout(_LEAVE_S):
                await self.instances.leave(await self.me())

    async def _run(self) -> None:
        while True:
            try:
                beat = await self.instances.beat(await self.me())
                self._warn_of_double(beat)
                await self.heard(beat)
            except AilbError as error:
                _log.debug("a heartbeat is left out: %s", error)
            except Exception:  # noqa: BLE001
                # A fault of ours must not end the heartbeats for good, nor pass unseen.
                _log.exception("a heartbeat failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.beat_s):
                    await self.news.wait()
            self.news.clear()

    def _warn_of_double(self, beat: Beat) -> None:
        """Once, and again after it was over. The first time it may be the one before that died."""
        self._doubles = self._doubles + 1 if beat.double else 0
        if self._doubles == _SURELY:
            _log.error("another process has this MODULE_ID: give each instance its own")
