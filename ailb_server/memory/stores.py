"""What memory asks of Postgres. Every method raises StorageUnavailableError in an outage."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from ailb_server.domain.embedding import EmbeddingSpace, Vector
from ailb_server.domain.memory_queries import (
    Embedded,
    Found,
    Likeness,
    Mismatch,
    Removed,
    Selection,
    SessionRecord,
    TurnQuery,
    TurnText,
    Window,
)
from ailb_server.domain.turn import NewExchange, NewTurn, StoredTurn, TurnRecord


class RecallStore(Protocol):
    """Reads for recalls."""

    async def recall(self, window: Window, likeness: Likeness | None = None) -> Found:
        """One statement; nothing for a session that does not exist."""
        ...

    async def by_words(self, window: Window, words: str, limit: int) -> Sequence[StoredTurn]:
        """The session's turns with any of the words, best first; `window.turns` does not count."""
        ...


class AppendStore(Protocol):
    """Writes of remembering."""

    async def append(
        self,
        exchange: NewExchange,
        unknown: Callable[[NewExchange, Sequence[int]], Sequence[NewTurn]],
    ) -> bool:
        """Stores what is new in one transaction; false if the exchange was stored before.

        `unknown` tells what of the exchange's history is new, given the fingerprints of the
        session's last turns, oldest first.
        """
        ...


class Claim(Protocol):
    """Turns that nobody else embeds until the claim's end."""

    @property
    def turns(self) -> Sequence[TurnText]:
        """At most as many as were asked for; none if there is nothing to do."""
        ...

    async def write(self, vectors: Sequence[Vector | None]) -> int:
        """Stores a vector for each turn, in order; None marks a turn that has none. Returns how
        many were stored: none of a tenant whose recorded space has become another."""
        ...


class EmbeddingStore(Protocol):
    """Reads and writes of turns' embeddings."""

    def claim(self, space: EmbeddingSpace, limit: int) -> AbstractAsyncContextManager[Claim]:
        """Turns without an embedding, of tenants whose space is this one or not recorded yet."""
        ...

    async def mismatch(self, space: EmbeddingSpace) -> Mismatch | None:
        """A tenant that has to be reindexed before `space` serves it, if there is one."""
        ...


class ReindexStore(Protocol):
    """Reads and writes of a re-embedding."""

    async def begin_reindex(self, tenant_id: int, space: EmbeddingSpace) -> None:
        """Records the space; turns of an earlier one are no longer compared from here on."""
        ...

    def claim_outdated(
        self, tenant_id: int, space: EmbeddingSpace, limit: int, after: tuple[int, int]
    ) -> AbstractAsyncContextManager[Claim]:
        """Turns that are not embedded in the space, after a session and turn, in order."""
        ...

    async def embedded(self, tenant_id: int) -> Embedded:
        """Counts."""
        ...

    async def end_reindex(self, tenant_id: int, space: EmbeddingSpace) -> None:
        """Records that all are embedded."""
        ...


class SessionStore(Protocol):
    """What callers read and delete."""

    async def sessions(
        self, tenant_id: int, end_user: str, limit: int, after: tuple[datetime, int] | None
    ) -> Sequence[SessionRecord]:
        """The last used first; of one end user unless that is empty; after a last use and an id."""
        ...

    async def session(self, tenant_id: int, session_id: str) -> SessionRecord | None:
        """One session."""
        ...

    async def turns(
        self, tenant_id: int, session: SessionRecord, limit: int, after: int
    ) -> Sequence[TurnRecord]:
        """Turns with a number above `after`, oldest first."""
        ...

    async def search(
        self, query: TurnQuery, space: EmbeddingSpace | None, vector: Vector | None
    ) -> Sequence[tuple[TurnRecord, float]]:
        """By words and, if there is a vector, by likeness too: best first, with scores."""
        ...

    async def remove(self, selection: Selection) -> Removed:
        """Removes one bounded batch."""
        ...


class SweepStore(Protocol):
    """Removal of what nobody has used for long."""

    async def sweep(self, before: datetime) -> Removed:
        """Removes one bounded batch of sessions last used before then; nothing while another
        instance sweeps."""
        ...
