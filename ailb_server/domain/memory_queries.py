"""What memory asks of its store, and what that answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ailb_server.domain.embedding import EmbeddingSpace, Vector
from ailb_server.domain.turn import StoredTurn


@dataclass(frozen=True, slots=True)
class Window:
    """Which session to read: its last `turns`, each text cut to `characters`."""

    tenant_id: int
    session_id: str
    turns: int
    characters: int


@dataclass(frozen=True, slots=True)
class Likeness:
    """What older turns shall resemble: at most `limit` with a cosine of `at_least`.

    Only turns that were embedded in `space` are compared.
    """

    space: EmbeddingSpace
    vector: Vector
    at_least: float
    limit: int
    characters: int


@dataclass(frozen=True, slots=True)
class Found:
    """What a session holds: how many turns, the last ones in order, similar ones, best first."""

    turn_count: int = 0
    last: Sequence[StoredTurn] = ()
    similar: Sequence[StoredTurn] = ()


@dataclass(frozen=True, slots=True)
class TurnText:
    """A turn to be embedded."""

    tenant_id: int
    session_id: int
    turn: int
    text: str


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A tenant whose turns are embedded by another model, or not all by its recorded one."""

    tenant: str
    recorded: EmbeddingSpace
    reindexing: bool


@dataclass(frozen=True, slots=True)
class Embedded:
    """How many of a tenant's turns are embedded in its recorded space, of how many."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session; `id` is internal, for paging."""

    id: int
    session_id: str
    end_user: str
    turn_count: int
    created_at: datetime
    last_turn_at: datetime


@dataclass(frozen=True, slots=True)
class Selection:
    """Sessions to be removed, all of one tenant: one by its id, an end user's, or every one."""

    tenant_id: int
    session_id: str | None = None
    end_user: str | None = None


@dataclass(frozen=True, slots=True)
class Removed:
    """How many sessions a batch removed, and whether more wait."""

    sessions: int
    more: bool


@dataclass(frozen=True, slots=True)
class TurnQuery:
    """A search in a tenant, or in one of its sessions."""

    tenant_id: int
    words: str
    limit: int
    session_id: str | None = None
