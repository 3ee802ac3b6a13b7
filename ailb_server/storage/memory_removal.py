"""Removes sessions with their turns, in bounded batches."""

from collections.abc import Sequence
from datetime import datetime

from ailb_server.domain.memory_queries import Removed, Selection
from ailb_server.storage.connection import Connection, Row
from ailb_server.storage.pool import Store

# What one transaction removes at most: well below the statement timeout.
MAX_SESSIONS = 100
MAX_TURNS = 5000
_SWEEP_LOCK = 0x41494C4D  # "AILM"

_PICK = f"""
SELECT tenant_id, id FROM sessions
 WHERE tenant_id = $1 AND ($2::text IS NULL OR external_id = $2)
   AND ($3::text IS NULL OR end_user = $3)
 ORDER BY id LIMIT {MAX_SESSIONS} FOR UPDATE
"""  # noqa: S608 - a constant
PICK_STALE = f"""
SELECT tenant_id, id FROM sessions WHERE last_turn_at < $1
 ORDER BY last_turn_at LIMIT {MAX_SESSIONS} FOR UPDATE SKIP LOCKED
"""  # noqa: S608 - a constant
_TURNS = f"""
DELETE FROM turns WHERE ctid = ANY (ARRAY(
  SELECT t.ctid FROM unnest($1::integer[], $2::bigint[]) AS gone (tenant_id, id)
    JOIN turns t ON t.tenant_id = gone.tenant_id AND t.session_id = gone.id
   LIMIT {MAX_TURNS}))
"""  # noqa: S608 - a constant
_EMPTY = """
DELETE FROM sessions s USING unnest($1::integer[], $2::bigint[]) AS gone (tenant_id, id)
 WHERE s.tenant_id = gone.tenant_id AND s.id = gone.id
   AND NOT EXISTS (SELECT FROM turns t WHERE t.tenant_id = s.tenant_id AND t.session_id = s.id)
"""


async def remove(connection: Connection, selection: Selection) -> Removed:
    """Within a transaction: a batch of the tenant's selected sessions."""
    picked = await connection.fetch(
        _PICK, selection.tenant_id, selection.session_id, selection.end_user
    )
    return await _remove_picked(connection, picked)


class PostgresMemorySweep:
    """See `memory.stores.SweepStore`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def sweep(self, before: datetime) -> Removed:
        """One transaction under an advisory lock, of all tenants' sessions."""
        async with self._store.connection() as connection, connection.transaction():
            if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _SWEEP_LOCK):
                return Removed(0, more=False)
            picked = await connection.fetch(PICK_STALE, before)
            return await _remove_picked(connection, picked)


async def _remove_picked(connection: Connection, picked: Sequence[Row]) -> Removed:
    """Turns first: a session of a million would not fit in one statement's time."""
    if not picked:
        return Removed(0, more=False)
    keys = [row["tenant_id"] for row in picked], [row["id"] for row in picked]
    turns = _count(await connection.execute(_TURNS, *keys))
    sessions = _count(await connection.execute(_EMPTY, *keys))
    return Removed(sessions, more=turns == MAX_TURNS or len(picked) == MAX_SESSIONS)


def _count(tag: str) -> int:
    """Of a tag such as `DELETE 3`."""
    return int(tag.rpartition(" ")[2])
