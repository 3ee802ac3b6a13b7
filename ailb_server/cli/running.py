"""Runs one instance until a signal asks it to end."""

import asyncio
import gc
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

from ailb_server.telemetry import logs

T = TypeVar("T")

_DEBUG = "debug"

_log = logging.getLogger(__name__)


class Signals:
    """SIGINT and SIGTERM as events: the first sets `end`, the second `now`. SIGHUP, where there is
    one, sets `reload`, which also keeps it from ending the process. SIGUSR1 switches the level of
    log lines, and calls `level_switched`."""

    def __init__(self) -> None:
        self.end = asyncio.Event()
        self.now = asyncio.Event()
        self.reload = asyncio.Event()
        self.level_switched: Callable[[], None] = lambda: None
        self._usual_level = "info"

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Catches them within the running loop."""
        loop = asyncio.get_running_loop()
        known = {
            "SIGINT": self._received,
            "SIGTERM": self._received,
            "SIGHUP": self.reload.set,
            "SIGUSR1": self._switch_level,
        }
        # Not every system has them all.
        caught = {getattr(signal, n): act for n, act in known.items() if hasattr(signal, n)}
        for number, act in caught.items():
            loop.add_signal_handler(number, act)
        try:
            yield
        finally:
            for number in caught:
                loop.remove_signal_handler(number)

    def _switch_level(self) -> None:
        """To `debug` and, with the next one, back."""
        now = logs.level()
        if now != _DEBUG:
            self._usual_level = now
        chosen = self._usual_level if now == _DEBUG else _DEBUG
        logs.set_level(chosen)
        _log.warning("log level is now %s", chosen)
        self.level_switched()

    @asynccontextmanager
    async def hangups(self, reload: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
        """Reloads at each SIGHUP within the context; those that come meanwhile are one."""
        task = asyncio.create_task(self._reload_for_ever(reload))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait((task,))

    async def _reload_for_ever(self, reload: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self.reload.wait()
            self.reload.clear()
            try:
                await reload()
            except Exception:  # noqa: BLE001
                # A fault of ours must neither end the reloading for good nor pass unseen.
                _log.exception("the reload failed")

    def _received(self) -> None:
        (self.now if self.end.is_set() else self.end).set()


def settle() -> None:
    """Leaves what a start has made out of all later garbage collections: it stays anyway."""
    gc.collect()
    gc.freeze()


async def started(signals: Signals, start: Coroutine[object, object, T]) -> T | None:
    """What `start` returns; None if a signal came first, and the start is cancelled and over.

    A start that is cancelled must stop by itself what it had started. Raises what `start` raises.
    """
    starting = asyncio.ensure_future(start)
    await unless(signals.end, asyncio.wait((starting,)))
    if not starting.done():
        starting.cancel()
        await asyncio.wait((starting,))
    # It may have been done at the very moment of the signal: then there is something to stop.
    return None if starting.cancelled() else starting.result()


async def unless(event: asyncio.Event, work: Awaitable[object]) -> None:
    """Awaits `work`, or gives it up once `event` is set."""
    task = asyncio.ensure_future(work)
    waiter = asyncio.create_task(event.wait())
    try:
        await asyncio.wait((task, waiter), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        waiter.cancel()
        task.cancel()
