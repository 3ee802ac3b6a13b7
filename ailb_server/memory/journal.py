"""Exchanges that wait to be stored, in order, while the store is down."""

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Sequence

from ailb_server.domain.memory_queries import Selection
from ailb_server.domain.turn import NewExchange, NewTurn
from ailb_server.memory.telling import MemoryObserver

_log = logging.getLogger(__name__)

SessionKey = tuple[int, str]


class Journal:
    """At most so many exchanges and bytes; beyond either the oldest are dropped, and it is said."""

    def __init__(
        self,
        observer: MemoryObserver,
        max_exchanges: int = 10_000,
        max_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self._observer = observer
        self._max_exchanges = max_exchanges
        self._max_bytes = max_bytes
        self._numbers = 0
        self._waiting: OrderedDict[int, NewExchange] = OrderedDict()
        self._sessions: Counter[SessionKey] = Counter()
        self._bytes = 0
        self._dropped = 0
        self._some = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, exchange: NewExchange) -> None:
        """Queues it behind all others."""
        self._numbers += 1
        self._waiting[self._numbers] = exchange
        self._sessions[_key(exchange)] += 1
        self._bytes += exchange.size
        while len(self._waiting) > self._max_exchanges or (
            self._bytes > self._max_bytes and len(self._waiting) > 1
        ):
            self._drop(next(iter(self._waiting)))
        self._some.set()
        self._tell()

    def holds(self, tenant_id: int, session_id: str) -> bool:
        """Whether an exchange of the session waits: a later one must not pass it."""
        return (tenant_id, session_id) in self._sessions

    def turns(self, tenant_id: int, session_id: str) -> Sequence[NewTurn]:
        """What waits of a session, oldest first."""
        if not self.holds(tenant_id, session_id):
            return ()
        key = (tenant_id, session_id)
        return [turn for e in self._waiting.values() if _key(e) == key for turn in e.fresh]

    async def first(self) -> tuple[int, NewExchange]:
        """The oldest, which stays until it is `done`; waits for one."""
        while not self._waiting:
            self._some.clear()
            await self._some.wait()
        return next(iter(self._waiting.items()))

    def done(self, number: int) -> None:
        """It is stored."""
        self._remove(number)
        if not self._waiting and self._dropped:
            _log.error("memory: %d exchanges were lost in the outage", self._dropped)
            self._dropped = 0
        self._tell()

    def refuse(self, number: int) -> None:
        """It cannot be stored, now or ever."""
        self._observer.lost(self._remove(number))
        self._tell()

    def forget(self, selection: Selection) -> None:
        """What was deleted must not be stored later."""
        for number, exchange in list(self._waiting.items()):
            if _selected(exchange, selection):
                self._remove(number)
        self._tell()

    def _drop(self, number: int) -> None:
        if not self._dropped:
            _log.error("memory: more waits to be stored than fits; the oldest is dropped")
        lost = self._remove(number)
        self._dropped += lost
        self._observer.lost(lost)

    def _remove(self, number: int) -> int:
        exchange = self._waiting.pop(number, None)
        if exchange is None:
            return 0
        self._bytes -= exchange.size
        key = _key(exchange)
        self._sessions[key] -= 1
        if not self._sessions[key]:
            del self._sessions[key]
        return 1

    def _tell(self) -> None:
        self._observer.waiting(len(self._waiting), self._bytes)


def _key(exchange: NewExchange) -> SessionKey:
    return exchange.tenant_id, exchange.session_id


def _selected(exchange: NewExchange, selection: Selection) -> bool:
    return (
        exchange.tenant_id == selection.tenant_id
        and selection.session_id in (None, exchange.session_id)
        and selection.end_user in (None, exchange.end_user)
    )
