"""Tables that are partitioned by month: the next month is made ahead, old ones are dropped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from ailb_server.domain.errors import StorageUnavailableError
from ailb_server.storage.pool import Store

_MAKE = """
SELECT month_make('usage_ledger', m), audit_log_make_month(m)
  FROM unnest(ARRAY[$1::timestamptz, $1::timestamptz + interval '1 month']) m
"""
# Instances that start together would both find none, and one of them an error.
_ALONE = "SELECT pg_advisory_xact_lock(hashtext('ailb: months'))"
# Whoever reads or writes waits for a drop that waits for readers: rather another time.
_IMPATIENT = "SET LOCAL lock_timeout = '2s'"
_DROP = "SELECT months_drop($1, $2, $3, $4)"
_NOW = "SELECT now()"


@dataclass(frozen=True, slots=True)
class PostgresMonths:
    """`kept`: of each table, how many whole months before the running one stay; 0: all.
    `instance` is MODULE_ID."""

    store: Store
    kept: Mapping[str, int]
    instance: str

    async def make_ahead(self, moment: datetime | None = None) -> None:
        """This month's partitions and the next one's. `moment`: now, if it is not a test.

        Raises StorageUnavailableError.
        """
        async with self.store.connection() as connection, connection.transaction():
            await connection.execute(_ALONE)
            await connection.execute(_MAKE, moment or await connection.fetchval(_NOW))

    async def drop_old(self, moment: datetime | None = None) -> Sequence[str]:
        """The names of the partitions that were dropped; one instance at a time works.

        Raises StorageUnavailableError, also if others use a partition for too long.
        """
        dropped: list[str] = []
        for table, months in self.kept.items():
            if months:
                dropped += await self._drop(table, months, moment)
        return dropped

    async def _drop(self, table: str, months: int, moment: datetime | None) -> Sequence[str]:
        try:
            async with self.store.connection() as connection, connection.transaction():
                await connection.execute(_IMPATIENT)
                at = moment or await connection.fetchval(_NOW)
                rows = await connection.fetch(_DROP, table, months, self.instance, at)
        except asyncpg.LockNotAvailableError:
            raise StorageUnavailableError("Old months are in use.", retry_after_s=60) from None
        return [row["months_drop"] for row in rows]
