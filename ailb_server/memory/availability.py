"""Whether the store answers: so that no request finds it out by waiting."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ailb_server.domain.errors import StorageUnavailableError
from ailb_server.memory.telling import MemoryObserver

_log = logging.getLogger(__name__)


class Availability:
    """Up until a request fails; from then on down, until `ping` succeeds.

    `run` pings, and only when somebody has `failed` or become suspicious. One line in the log for
    each change.
    """

    def __init__(
        self,
        ping: Callable[[], Awaitable[None]],
        observer: MemoryObserver,
        every_s: float = 0.25,
    ) -> None:
        self._ping = ping
        self._observer = observer
        self._every_s = every_s
        self._up = True
        self._asked = asyncio.Event()
        self._back = asyncio.Event()
        self._back.set()
        observer.available(up=True)

    @property
    def up(self) -> bool:
        """Whether it is worth asking the store."""
        return self._up

    def failed(self) -> None:
        """The store did not answer, certainly."""
        if self._up:
            self._up = False
            self._back.clear()
            self._observer.available(up=False)
            _log.warning("memory: the store is down; chats go on without, answers are kept here")
        self._asked.set()

    def suspect(self) -> None:
        """The store was slow: it is pinged before it is called down."""
        self._asked.set()

    async def wait_up(self) -> None:
        """Returns once the store answers."""
        await self._back.wait()

    async def run(self) -> None:
        """Pings while there is reason to; never returns."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            while not await self._answers():
                self.failed()
                await asyncio.sleep(self._every_s)
            # What failed meanwhile was before this answer.
            self._asked.clear()
            if not self._up:
                self._up = True
                self._back.set()
                self._observer.available(up=True)
                _log.warning("memory: the store is back")

    async def _answers(self) -> bool:
        try:
            await self._ping()
        except StorageUnavailableError:
            return False
        return True
