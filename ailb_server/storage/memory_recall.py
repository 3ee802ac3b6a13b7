"""Reads sessions for recalls."""

from collections.abc import Sequence

from ailb_server.domain.memory_queries import Found, Likeness, Window
from ailb_server.domain.turn import StoredTurn
from ailb_server.storage.memory_rows import WORDS, halfvec, stored_turn
from ailb_server.storage.pool import Store

# LATERAL, so that each part reads the primary key backwards and stops.
_LAST = """
SELECT t.turn, t.role, left(t.text, $4) AS text, t.message, t.fingerprint, t.created_at,
       NULL::float8 AS similarity, s.turn_count
  FROM (SELECT id, turn_count FROM sessions WHERE tenant_id = $1 AND external_id = $2) s
 CROSS JOIN LATERAL (
       SELECT * FROM turns n
        WHERE n.tenant_id = $1 AND n.session_id = s.id
        ORDER BY n.turn DESC LIMIT $3) t
"""
# CASE, because vectors of another dimension must not even be looked at.
_SIMILAR = """
SELECT t.turn, t.role, left(t.text, $11) AS text, t.message, t.fingerprint, t.created_at,
       t.similarity, s.turn_count
  FROM (SELECT id, turn_count FROM sessions WHERE tenant_id = $1 AND external_id = $2) s
 CROSS JOIN LATERAL (
       SELECT * FROM (
              SELECT n.turn, n.role, n.text, n.message, n.fingerprint, n.created_at,
                     CASE WHEN n.space_version = (
                               SELECT version FROM memory_spaces
                                WHERE tenant_id = $1 AND model = $5 AND dimension = $6
                                  AND normalised = $7)
                          THEN 1 - (n.embedding <=> $8) END AS similarity
                FROM turns n
               WHERE n.tenant_id = $1 AND n.session_id = s.id
               ORDER BY n.turn DESC LIMIT 1000) newest
        WHERE newest.similarity >= $9
        ORDER BY newest.similarity DESC, newest.turn DESC LIMIT $10) t
"""
RECENT = _LAST
RECENT_AND_SIMILAR = f"({_LAST}) UNION ALL ({_SIMILAR})"

# Any of the words, because this stands in for likeness; lexemes hold no space, so ` & ` is the
# operator. The session's number is a lexeme of the index too.
BY_WORDS = f"""
WITH s AS (SELECT id FROM sessions WHERE tenant_id = $1 AND external_id = $2),
     q AS (SELECT replace(plainto_tsquery('english', $3)::text, ' & ', ' | ')::tsquery AS words)
SELECT t.turn, t.role, left(t.text, $4) AS text, t.message, t.fingerprint, t.created_at,
       ts_rank(to_tsvector('english', left(t.text, 20000)), q.words)::float8 AS similarity
  FROM q, s, turns t
 WHERE t.tenant_id = $1 AND t.session_id = s.id AND t.embeddable AND numnode(q.words) > 0
   AND {WORDS} @@ (('''session:' || s.id::text || '''')::tsquery && q.words)
 ORDER BY similarity DESC, t.turn DESC
 LIMIT $5
"""  # noqa: S608 - made of constants


class PostgresMemoryRecall:
    """See `memory.stores.RecallStore`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def recall(self, window: Window, likeness: Likeness | None = None) -> Found:
        """Reads the newest 1,000 turns for likeness, by the primary key."""
        session = (window.tenant_id, window.session_id, window.turns, window.characters)
        async with self._store.connection() as connection:
            if likeness is None:
                rows = await connection.fetch(RECENT, *session)
            else:
                rows = await connection.fetch(RECENT_AND_SIMILAR, *session, *_sought(likeness))
        turns = [stored_turn(row) for row in rows]
        last = sorted((t for t in turns if t.similarity is None), key=lambda turn: turn.turn)
        similar = [turn for turn in turns if turn.similarity is not None]
        return Found(rows[0]["turn_count"] if rows else 0, last, similar)

    async def by_words(self, window: Window, words: str, limit: int) -> Sequence[StoredTurn]:
        """`similarity` of the turns is their rank by words."""
        asked = (window.tenant_id, window.session_id, words, window.characters, limit)
        async with self._store.connection() as connection:
            rows = await connection.fetch(BY_WORDS, *asked)
        return [stored_turn(row) for row in rows]


def _sought(likeness: Likeness) -> tuple[object, ...]:
    space = likeness.space
    return (
        space.model,
        space.dimension,
        space.normalised,
        halfvec(likeness.vector),
        likeness.at_least,
        likeness.limit,
        likeness.characters,
    )
