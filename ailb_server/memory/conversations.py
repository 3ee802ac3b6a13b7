"""What callers read and delete of their tenant's sessions."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ailb_server.domain.embedding import Embedder, EmbeddingSpace, Vector
from ailb_server.domain.errors import (
    EmbedderUnavailableError,
    InvalidRequestError,
    NotFoundError,
)
from ailb_server.domain.memory_queries import Selection, SessionRecord, TurnQuery
from ailb_server.domain.principal import Principal
from ailb_server.domain.session_id import check_session_id
from ailb_server.domain.turn import TurnRecord
from ailb_server.memory.journal import Journal
from ailb_server.memory.stores import SessionStore

MAX_QUERY = 8192
_MAX_USER = 256


@dataclass(frozen=True, slots=True)
class SessionPage:
    """Some sessions, and after which one the next page begins; None on the last."""

    sessions: Sequence[SessionRecord]
    next_after: tuple[datetime, int] | None


@dataclass(frozen=True, slots=True)
class TurnPage:
    """Some turns, and after which one the next page begins; None on the last."""

    turns: Sequence[TurnRecord]
    next_after: int | None


class Conversations:
    """Another tenant's session is as one that does not exist: NotFoundError."""

    def __init__(
        self,
        store: SessionStore,
        journal: Journal,
        embedder: Embedder,
        embedding_timeout_s: float = 5.0,
    ) -> None:
        self._store = store
        self._journal = journal
        self._embedder = embedder
        self._embedding_timeout_s = embedding_timeout_s

    async def sessions(
        self, who: Principal, end_user: str, size: int, after: tuple[datetime, int] | None
    ) -> SessionPage:
        """The last used first; of one end user unless that is empty."""
        found = await self._store.sessions(who.tenant_id, _user(end_user), size + 1, after)
        page = found[:size]
        more = len(found) > size
        return SessionPage(page, (page[-1].last_turn_at, page[-1].id) if more else None)

    async def session(self, who: Principal, session_id: str) -> SessionRecord:
        """Raises NotFoundError."""
        check_session_id(session_id)
        found = await self._store.session(who.tenant_id, session_id)
        if found is None:
            raise _not_found()
        return found

    async def turns(self, who: Principal, session_id: str, size: int, after: int) -> TurnPage:
        """Oldest first, from above the number `after`. Raises NotFoundError."""
        session = await self.session(who, session_id)
        found = await self._store.turns(who.tenant_id, session, size + 1, after)
        page = found[:size]
        return TurnPage(page, page[-1].turn if len(found) > size else None)

    async def search(
        self, who: Principal, query: str, session_id: str, limit: int
    ) -> Sequence[tuple[TurnRecord, float]]:
        """By meaning and by words, or by words alone; the best first. Raises NotFoundError."""
        if not query.strip() or len(query) > MAX_QUERY:
            raise InvalidRequestError(
                f"`query` must have 1 to {MAX_QUERY} characters.", param="query"
            )
        if session_id:
            await self.session(who, session_id)
        words = query.replace("\0", "")
        space, vector = await self._vector(words)
        asked = TurnQuery(who.tenant_id, words, limit, session_id or None)
        return await self._store.search(asked, space, vector)

    async def delete(self, who: Principal, session_id: str) -> None:
        """Raises NotFoundError."""
        check_session_id(session_id)
        waited = self._journal.holds(who.tenant_id, session_id)
        removed = await self._remove(Selection(who.tenant_id, session_id=session_id))
        if not removed and not waited:
            raise _not_found()

    async def delete_all(self, who: Principal, end_user: str, *, everyone: bool) -> int:
        """Removes an end user's sessions, or the tenant's; how many that were."""
        if bool(end_user) == everyone:
            raise InvalidRequestError(
                "Either `user` or `all` must be set, so that nothing is deleted by mistake.",
                param="all" if everyone else "user",
            )
        user = _user(end_user) if end_user else None
        return await self._remove(Selection(who.tenant_id, end_user=user))

    async def _remove(self, selection: Selection) -> int:
        total = 0
        while True:
            self._journal.forget(selection)
            removed = await self._store.remove(selection)
            total += removed.sessions
            if not removed.more:
                return total

    async def _vector(self, text: str) -> tuple[EmbeddingSpace | None, Vector | None]:
        if self._embedder.space is None:
            return None, None
        try:
            async with asyncio.timeout(self._embedding_timeout_s):
                (vector,) = await self._embedder.embed([text])
        except (EmbedderUnavailableError, TimeoutError):
            return None, None
        return self._embedder.space, vector


def _user(end_user: str) -> str:
    if len(end_user) > _MAX_USER:
        raise InvalidRequestError(f"`user` must have at most {_MAX_USER} characters.", param="user")
    return end_user.replace("\0", "")


def _not_found() -> NotFoundError:
    return NotFoundError("There is no such session.", param="session_id")
