"""What other sessions announce by NOTIFY, heard on a connection of its own."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg

from ailb_server.storage.dsn import place
from ailb_server.storage.outage import OUTAGES, reason

_CONNECT_TIMEOUT_S = 5.0
_PING_TIMEOUT_S = 2.0
_CLOSE_TIMEOUT_S = 2.0
_LONGEST_PAUSE_S = 2.0
_FAILURES = (*OUTAGES, asyncpg.PostgresError, asyncpg.InterfaceError)

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Notifications:
    """Hears the channels for ever, over any outage.

    `heard` has what to do with a channel's payload. `listening` is called whenever listening has
    begun (anew): what was announced before went unheard. `ping_s` bounds how long a connection that
    died unseen passes for alive.
    """

    dsn: str
    heard: Mapping[str, Callable[[str], None]]
    listening: Callable[[], None]
    ping_s: float = 3.0
    first_pause_s: float = 0.1

    async def run(self) -> None:
        """Ends only by cancellation."""
        pause_s, told = self.first_pause_s, False
        while True:
            try:
                connection = await self._connected()
            except _FAILURES as error:
                if not told:
                    _log.warning("not listening to %s: %s", place(self.dsn), reason(error))
                told = True
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
            if told:
                _log.info("listening to %s again", place(self.dsn))
            pause_s, told = self.first_pause_s, False
            try:
                self.listening()
                await self._until_it_breaks(connection)
            finally:
                await _closed(connection)

    async def _connected(self) -> Any:
        connection = await asyncpg.connect(
            self.dsn,
            timeout=_CONNECT_TIMEOUT_S,
            statement_cache_size=0,
            server_settings={"application_name": "ailb listener"},
        )
        try:
            for channel, act in self.heard.items():
                await connection.add_listener(channel, _receiver(act))
        except BaseException:
            await _closed(connection)
            raise
        return connection

    async def _until_it_breaks(self, connection: Any) -> None:
        broken = asyncio.Event()
        connection.add_termination_listener(lambda _: broken.set())
        while not broken.is_set():
            try:
                async with asyncio.timeout(self.ping_s):
                    await broken.wait()
            except TimeoutError:
                if not await _answers(connection):
                    return


def _receiver(act: Callable[[str], None]) -> Callable[[object, int, str, str], None]:
    def receive(_connection: object, _pid: int, _channel: str, payload: str) -> None:
        act(payload)

    return receive


async def _answers(connection: Any) -> bool:
    try:
        await connection.fetchval("SELECT 1", timeout=_PING_TIMEOUT_S)
    except _FAILURES:
        return False
    return True


async def _closed(connection: Any) -> None:
    try:
        await connection.close(timeout=_CLOSE_TIMEOUT_S)
    except _FAILURES:
        connection.terminate()
