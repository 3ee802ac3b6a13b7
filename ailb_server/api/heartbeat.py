"""Keeps a stream's connection alive through the proxies between, while nothing flows."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

# Below what proxies and load balancers allow a silent connection, which is a minute at least.
HEARTBEAT_S = 15.0


class Heartbeat:
    """Calls `beat` whenever nothing has flowed for `every_s` seconds, HEARTBEAT_S unless given.

    One timer, and two assignments for each piece that flows: `await pause()` before it is written,
    `resume()` after. Two writes never overlap.
    """

    def __init__(self, beat: Callable[[], Awaitable[None]], every_s: float | None = None) -> None:
        self._beat = beat
        self._every_s = HEARTBEAT_S if every_s is None else every_s
        self._loop = asyncio.get_running_loop()
        self._idle_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._beating: asyncio.Task[None] | None = None

    async def pause(self) -> None:
        """Something is about to be written; returns once no beat is being written."""
        self._idle_since = None
        if self._beating is not None:
            # Not the task itself: a call that is ended here would cut what the beat writes.
            await asyncio.wait((self._beating,))
            self._beating.result()
            self._beating = None

    def resume(self) -> None:
        """It has been written: from now on nothing flows."""
        self._idle_since = self._loop.time()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Beats within, from now on. An error that leaves it waits for the beat being written: it
        is to be told behind it."""
        self.resume()
        self._set_timer(self._every_s)
        try:
            yield
        except Exception:
            self._idle_since = None
            if self._beating is not None:
                await asyncio.wait((self._beating,))
            raise
        finally:
            if self._timer is not None:
                self._timer.cancel()
            await self._end_beating()

    def _set_timer(self, seconds: float) -> None:
        self._timer = self._loop.call_later(seconds, self._tick)

    def _tick(self) -> None:
        idle_since = self._idle_since
        idle_s = 0.0 if idle_since is None else self._loop.time() - idle_since
        if idle_s < self._every_s:
            self._set_timer(self._every_s - idle_s)
            return
        # A reader who takes nothing gets no second beat behind the first.
        if self._beating is None or self._beating.done():
            self._beating = asyncio.create_task(self._once())
        self._set_timer(self._every_s)

    async def _once(self) -> None:
        await self._beat()
        if self._idle_since is not None:
            self.resume()

    async def _end_beating(self) -> None:
        if self._beating is not None:
            self._beating.cancel()
            # Its failure is the connection's, which the call itself meets.
            await asyncio.wait((self._beating,))
            if not self._beating.cancelled():
                self._beating.exception()
