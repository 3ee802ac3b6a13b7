"""Rows of the usage ledger, written."""

from collections.abc import Sequence
from dataclasses import fields

import asyncpg

from ailb_server.domain.usage import RowRefusedError, UsageEntry
from ailb_server.storage.pool import Store

COLUMNS = ", ".join(field.name for field in fields(UsageEntry) if field.name != "settlements")

# The lines go as they are: parsed here they would cost the event loop ten times as much.
_ADD = f"""
INSERT INTO usage_ledger ({COLUMNS})
SELECT {COLUMNS} FROM json_populate_recordset(NULL::usage_ledger, $1::json)
ON CONFLICT (at, id) DO NOTHING
"""  # noqa: S608 - names of ours
_MAKE_THEIR_MONTHS = """
SELECT month_make('usage_ledger', at)
  FROM (SELECT DISTINCT date_trunc('month', at, 'UTC') AS at
          FROM json_populate_recordset(NULL::usage_ledger, $1::json)) months
"""
# In the transaction that stores the rows: both are true, or neither.
_SETTLE = "SELECT limits_settled($1::json)"
_SETTLES = b'"lease":'
_IDENTITY = "SELECT id::text FROM usage_ledger_identity"
# Of a row's values: another try meets them again.
_REFUSALS = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)


class PostgresUsageRows:
    """See `spend.ledger.UsageStore`.

    Commits are synchronous: the journal forgets a row as soon as it is told that the row is here.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def identity(self) -> str:
        """Which ledger this is. Raises StorageUnavailableError."""
        async with self._store.connection() as connection:
            return str(await connection.fetchval(_IDENTITY))

    async def add(self, lines: Sequence[bytes]) -> int:
        """One statement, and so all or nothing."""
        rows = "[" + b",".join(lines).decode() + "]"
        settles = any(_SETTLES in line for line in lines)
        try:
            return await self._insert(rows, settles=settles)
        except asyncpg.CheckViolationError:
            # Rows of a month that has no partition: a journal that was left for long.
            await self._make_their_months(rows)
            return await self._insert(rows, settles=settles)

    async def _insert(self, rows: str, *, settles: bool) -> int:
        async with self._store.connection() as connection, connection.transaction():
            try:
                tag = await connection.execute(_ADD, rows)
                if settles:
                    await connection.execute(_SETTLE, rows)
            except asyncpg.CheckViolationError:
                raise
            except _REFUSALS as error:
                raise RowRefusedError(type(error).__name__) from None
        return int(tag.rpartition(" ")[2])

    async def _make_their_months(self, rows: str) -> None:
        async with self._store.connection() as connection:
            await connection.execute(_MAKE_THEIR_MONTHS, rows)
