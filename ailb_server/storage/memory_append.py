"""Adds exchanges to sessions."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import asyncpg
import orjson

from ailb_server.domain.chat import JsonObject
from ailb_server.domain.turn import NewExchange, NewTurn
from ailb_server.storage.connection import Connection
from ailb_server.storage.pool import Store

# What of an exchange's history is new, given the fingerprints of the session's last turns.
Unknown: TypeAlias = Callable[[NewExchange, Sequence[int]], Sequence[NewTurn]]

# So many of a session's last turns are compared with what a request repeats.
_COMPARED = 400

# The session's row is locked by the update, so that concurrent appends get their numbers in turn.
APPEND = """
WITH session AS (
  INSERT INTO sessions AS s (tenant_id, external_id, end_user, turn_count)
  VALUES ($1, $2, $3, cardinality($6::smallint[]))
  ON CONFLICT (tenant_id, external_id) DO UPDATE
     SET turn_count = s.turn_count + EXCLUDED.turn_count, last_turn_at = now()
   WHERE NOT EXISTS (SELECT FROM turns t
                      WHERE t.tenant_id = s.tenant_id AND t.session_id = s.id AND t.answer_key = $4)
  RETURNING id, turn_count - cardinality($6::smallint[]) AS first
)
INSERT INTO turns (tenant_id, session_id, turn, request_id, role, text, message, fingerprint,
                   tokens, embeddable, model, provider, finish_reason, answer_key)
SELECT $1, session.id, session.first + new.number - 1, $5, new.role, new.text, new.message::jsonb,
       new.fingerprint, new.tokens, new.embeddable, new.model, new.provider, new.finish_reason,
       CASE WHEN new.number = cardinality($6::smallint[]) THEN $4::uuid END
  FROM session, unnest($6::smallint[], $7::text[], $8::text[], $9::bigint[], $10::integer[],
                       $11::boolean[], $12::text[], $13::text[], $14::text[])
       WITH ORDINALITY AS new (role, text, message, fingerprint, tokens, embeddable, model,
                               provider, finish_reason, number)
RETURNING turn
"""
# Locks the session, made if need be, before its turns are read: a statement of its own, because a
# statement that waited for a lock still reads what was there before.
_LOCK = """
INSERT INTO sessions AS s (tenant_id, external_id, end_user) VALUES ($1, $2, $3)
ON CONFLICT (tenant_id, external_id) DO UPDATE SET turn_count = s.turn_count
RETURNING id, turn_count
"""
_FINGERPRINTS = f"""
SELECT fingerprint FROM turns WHERE tenant_id = $1 AND session_id = $2
 ORDER BY turn DESC LIMIT {_COMPARED}
"""  # noqa: S608 - a constant


class PostgresMemoryAppend:
    """See `memory.stores.AppendStore`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def append(self, exchange: NewExchange, unknown: Unknown) -> bool:
        """One statement, or a transaction if the request repeats a part of the session."""
        async with self._store.connection() as connection:
            try:
                if not exchange.history:
                    return await _append(connection, exchange, exchange.fresh)
                async with connection.transaction():
                    stored = await _fingerprints(connection, exchange)
                    turns = (*unknown(exchange, stored), *exchange.fresh)
                    return await _append(connection, exchange, turns)
            except asyncpg.UniqueViolationError:
                # The same exchange, stored by another connection while this one waited.
                return False


async def _fingerprints(connection: Connection, exchange: NewExchange) -> Sequence[int]:
    """Locks the session, and reads its last turns."""
    session = (exchange.tenant_id, exchange.session_id, exchange.end_user)
    locked = await connection.fetchrow(_LOCK, *session)
    if locked is None or not locked["turn_count"]:
        return ()
    rows = await connection.fetch(_FINGERPRINTS, exchange.tenant_id, locked["id"])
    return [row["fingerprint"] for row in reversed(rows)]


async def _append(connection: Connection, exchange: NewExchange, turns: Sequence[NewTurn]) -> bool:
    rows = await connection.fetch(
        APPEND,
        exchange.tenant_id,
        exchange.session_id,
        exchange.end_user,
        exchange.key,
        exchange.request_id,
        *_columns(turns),
    )
    return bool(rows)


def _columns(turns: Sequence[NewTurn]) -> tuple[list[object], ...]:
    return (
        [int(turn.role) for turn in turns],
        [turn.text for turn in turns],
        [_json(turn.message) for turn in turns],
        [turn.fingerprint for turn in turns],
        [turn.tokens for turn in turns],
        [turn.embeddable for turn in turns],
        [turn.model for turn in turns],
        [turn.provider for turn in turns],
        [turn.finish_reason for turn in turns],
    )


def _json(message: JsonObject | None) -> str | None:
    return None if message is None else orjson.dumps(message).decode()
