"""Stores exchanges: at once, or once the store is back."""

import asyncio
import logging
from collections.abc import Callable

from ailb_server.domain.context import Exchange
from ailb_server.domain.errors import AilbError, StorageUnavailableError
from ailb_server.domain.turn import NewExchange
from ailb_server.memory.alignment import unknown
from ailb_server.memory.availability import Availability
from ailb_server.memory.journal import Journal
from ailb_server.memory.request_turns import exchange_turns
from ailb_server.memory.stores import AppendStore

PATIENCE_S = 1.0
_DRAIN_TIMEOUT_S = 10.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0

_log = logging.getLogger(__name__)


class Remembering:
    """`stored` is called after each exchange that was stored. An answer's end waits `patience_s`
    for the store."""

    def __init__(
        self,
        store: AppendStore,
        journal: Journal,
        availability: Availability,
        stored: Callable[[], None],
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._store = store
        self._journal = journal
        self._availability = availability
        self._stored = stored
        self._patience_s = patience_s

    async def remember(self, exchange: Exchange) -> None:
        """Returns once it is stored; in an outage within `patience_s`, and stores it later.

        Whatever cancels the caller, the exchange is stored or waits to be.
        """
        turns = exchange_turns(exchange)
        waits = self._journal.holds(turns.tenant_id, turns.session_id)
        if waits or not self._availability.up or not await self._stored_now(turns):
            self._journal.add(turns)

    async def drain(self) -> None:
        """Stores what waits, in order, as soon as the store is up; never returns."""
        pause_s = _FIRST_PAUSE_S
        while True:
            number, exchange = await self._journal.first()
            await self._availability.wait_up()
            if await self._drain_one(number, exchange):
                pause_s = _FIRST_PAUSE_S
            else:
                # The store may answer pings and refuse to write: a full disk, a standby.
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def flush(self, timeout_s: float) -> None:
        """Gives what waits a last chance; says what is lost."""
        try:
            async with asyncio.timeout(timeout_s):
                while len(self._journal):
                    if not await self._drain_one(*await self._journal.first()):
                        await asyncio.sleep(_FIRST_PAUSE_S)
        except TimeoutError:
            _log.error("memory: %d exchanges are lost: the store is down", len(self._journal))

    async def _drain_one(self, number: int, exchange: NewExchange) -> bool:
        """False if the store is down."""
        try:
            async with asyncio.timeout(_DRAIN_TIMEOUT_S):
                await self._store.append(exchange, unknown)
        except (StorageUnavailableError, TimeoutError):
            self._availability.suspect()
            return False
        except Exception as error:  # noqa: BLE001 - one broken exchange must not hold up the others
            _tell_refused(error)
            self._journal.refuse(number)
        else:
            self._journal.done(number)
            self._stored()
        return True

    async def _stored_now(self, turns: NewExchange) -> bool:
        """False if it has to wait. An append that was cut off is repeated later: its key tells."""
        try:
            async with asyncio.timeout(self._patience_s):
                await self._store.append(turns, unknown)
        except (StorageUnavailableError, TimeoutError):
            self._availability.suspect()
            return False
        except asyncio.CancelledError:
            # The caller has gone, or the server ends; the answer was given all the same.
            self._journal.add(turns)
            raise
        except Exception as error:  # noqa: BLE001 - the chat was answered: nothing of it may fail
            _tell_refused(error)
            return True
        self._stored()
        return True


def _tell_refused(error: Exception) -> None:
    # Not the message: Postgres's errors quote values, which are what people said.
    kind = error.reason if isinstance(error, AilbError) else type(error).__qualname__
    _log.error("memory: an exchange cannot be stored: %s", kind)
