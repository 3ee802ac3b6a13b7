"""What callers read of sessions."""

from collections.abc import Sequence
from datetime import datetime

from ailb_server.domain.embedding import EmbeddingSpace, Vector
from ailb_server.domain.memory_queries import Removed, Selection, SessionRecord, TurnQuery
from ailb_server.domain.turn import TurnRecord
from ailb_server.storage.connection import Row
from ailb_server.storage.memory_removal import remove
from ailb_server.storage.memory_rows import WORDS, halfvec, turn_record
from ailb_server.storage.pool import Store

_COLUMNS = "id, external_id, end_user, turn_count, created_at, last_turn_at"
# Two statements, so that each has its own index.
SESSIONS = f"""
SELECT {_COLUMNS} FROM sessions
 WHERE tenant_id = $1 AND ($2::timestamptz IS NULL OR (last_turn_at, id) < ($2, $3))
 ORDER BY last_turn_at DESC, id DESC LIMIT $4
"""  # noqa: S608 - a constant
SESSIONS_OF_USER = f"""
SELECT {_COLUMNS} FROM sessions
 WHERE tenant_id = $1 AND ($2::timestamptz IS NULL OR (last_turn_at, id) < ($2, $3))
   AND end_user = $5 AND end_user <> ''
 ORDER BY last_turn_at DESC, id DESC LIMIT $4
"""  # noqa: S608 - a constant
_SESSION = f"SELECT {_COLUMNS} FROM sessions WHERE tenant_id = $1 AND external_id = $2"  # noqa: S608
_TURN = """turn, role, text, message, model, provider, tokens, finish_reason, request_id,
 created_at"""
TURNS = f"""
SELECT {_TURN} FROM turns WHERE tenant_id = $1 AND session_id = $2 AND turn > $3
 ORDER BY turn LIMIT $4
"""  # noqa: S608 - a constant

# Exactly compared: the newest 1,000 turns of the last used sessions, 20,000 at most.
_BY_LIKENESS = """
SELECT session_id, turn, row_number() OVER (ORDER BY distance, session_id, turn) AS place FROM (
  SELECT * FROM (
    SELECT n.session_id, n.turn,
           CASE WHEN n.space_version = (
                     SELECT version FROM memory_spaces
                      WHERE tenant_id = $1 AND model = $5 AND dimension = $6 AND normalised = $7)
                THEN n.embedding <=> $8 END AS distance
      FROM (SELECT id FROM sessions WHERE tenant_id = $1 AND ($4::text IS NULL OR external_id = $4)
             ORDER BY last_turn_at DESC LIMIT 2000) s
     CROSS JOIN LATERAL (
           SELECT session_id, turn, space_version, embedding FROM turns t
            WHERE t.tenant_id = $1 AND t.session_id = s.id ORDER BY t.turn DESC LIMIT 1000) n
     LIMIT 20000) newest
   WHERE distance IS NOT NULL ORDER BY distance, session_id, turn LIMIT 50) nearest
"""
_BY_WORDS = f"""
SELECT session_id, turn, row_number() OVER (ORDER BY rank DESC, session_id, turn) AS place FROM (
  SELECT t.session_id, t.turn, ts_rank(to_tsvector('english', left(t.text, 20000)), q.words) AS rank
    FROM (SELECT websearch_to_tsquery('english', $2) AS words) q, turns t
   WHERE t.tenant_id = $1 AND numnode(q.words) > 0
     AND ($4::text IS NULL OR t.session_id = (
          SELECT id FROM sessions WHERE tenant_id = $1 AND external_id = $4))
     AND {WORDS} @@ (q.words && CASE WHEN $4::text IS NULL
         THEN ('''tenant:' || $1::integer::text || '''')::tsquery
         ELSE ('''session:' || (SELECT id FROM sessions
                                 WHERE tenant_id = $1 AND external_id = $4)::text || '''')::tsquery
          END)
   ORDER BY rank DESC, t.session_id, t.turn LIMIT 50) best
"""  # noqa: S608 - made of constants
# Reciprocal rank fusion (Cormack et al. 2009, k = 60): ranks compare where scores do not.
_FUSED = """
SELECT s.external_id, f.score, t.* FROM (
  SELECT session_id, turn, sum(1.0 / (60 + place))::float8 AS score FROM ({lists}) list
   GROUP BY session_id, turn ORDER BY score DESC, session_id, turn LIMIT $3) f
  JOIN sessions s ON s.tenant_id = $1 AND s.id = f.session_id
  JOIN turns t ON t.tenant_id = $1 AND t.session_id = f.session_id AND t.turn = f.turn
 ORDER BY f.score DESC, f.session_id, f.turn
"""
SEARCH_WORDS = _FUSED.format(lists=_BY_WORDS)
SEARCH = _FUSED.format(lists=f"({_BY_WORDS}) UNION ALL ({_BY_LIKENESS})")


class PostgresMemorySessions:
    """See `memory.stores.SessionStore`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def sessions(
        self, tenant_id: int, end_user: str, limit: int, after: tuple[datetime, int] | None
    ) -> Sequence[SessionRecord]:
        """A page by its key, not by an offset."""
        last_turn_at, last_id = after or (None, None)
        asked = (tenant_id, last_turn_at, last_id, limit)
        async with self._store.connection() as connection:
            if end_user:
                rows = await connection.fetch(SESSIONS_OF_USER, *asked, end_user)
            else:
                rows = await connection.fetch(SESSIONS, *asked)
        return [_session(row) for row in rows]

    async def session(self, tenant_id: int, session_id: str) -> SessionRecord | None:
        """None if the tenant has none of this id."""
        async with self._store.connection() as connection:
            row = await connection.fetchrow(_SESSION, tenant_id, session_id)
        return _session(row) if row else None

    async def turns(
        self, tenant_id: int, session: SessionRecord, limit: int, after: int
    ) -> Sequence[TurnRecord]:
        """A page by its key."""
        async with self._store.connection() as connection:
            rows = await connection.fetch(TURNS, tenant_id, session.id, after, limit)
        return [turn_record(row, session.session_id) for row in rows]

    async def search(
        self, query: TurnQuery, space: EmbeddingSpace | None, vector: Vector | None
    ) -> Sequence[tuple[TurnRecord, float]]:
        """One statement."""
        asked = (query.tenant_id, query.words, query.limit, query.session_id)
        async with self._store.connection() as connection:
            if space is None or vector is None:
                rows = await connection.fetch(SEARCH_WORDS, *asked)
            else:
                told = (space.model, space.dimension, space.normalised, halfvec(vector))
                rows = await connection.fetch(SEARCH, *asked, *told)
        return [(turn_record(row, row["external_id"]), row["score"]) for row in rows]

    async def remove(self, selection: Selection) -> Removed:
        """One transaction."""
        async with self._store.connection() as connection, connection.transaction():
            return await remove(connection, selection)


def _session(row: Row) -> SessionRecord:
    return SessionRecord(
        id=row["id"],
        session_id=row["external_id"],
        end_user=row["end_user"],
        turn_count=row["turn_count"],
        created_at=row["created_at"],
        last_turn_at=row["last_turn_at"],
    )
