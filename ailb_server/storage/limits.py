"""Limits in Postgres: what instances lease of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import orjson

from ailb_server.domain.limits import Ask, Grant
from ailb_server.storage.pool import Store

CHANNEL = "ailb_limits"
_EXCHANGE = "SELECT * FROM limits_exchange($1::jsonb, $2, $3, $4) ORDER BY place"


@dataclass(frozen=True, slots=True)
class PostgresLimits:
    """A `LimitStore`. A lease lives for `ttl_s` from each exchange, by the clock of Postgres.

    `instance` is MODULE_ID. `time`, in seconds since 1970, takes that clock's place in tests.
    """

    store: Store
    instance: str
    ttl_s: float
    time: Callable[[], float] | None = None

    async def exchange(self, asks: Sequence[Ask]) -> Sequence[Grant]:
        """See `LimitStore`."""
        moment = None if self.time is None else datetime.fromtimestamp(self.time(), UTC)
        told = orjson.dumps([_told(ask) for ask in asks]).decode()
        ttl = timedelta(seconds=self.ttl_s)
        async with self.store.connection() as connection:
            rows = await connection.fetch(_EXCHANGE, told, self.instance, ttl, moment)
        return [
            Grant(
                kept=row["kept"],
                granted=row["granted"],
                left=row["remains"],
                elsewhere=row["elsewhere"],
                unanswered=row["unanswered"],
                recalls=row["recalls"],
                others=row["others"],
                spent=row["spent"],
            )
            for row in rows
        ]


def _told(ask: Ask) -> dict[str, object]:
    limit = ask.limit
    return {
        "scope": limit.scope,
        "owner": limit.owner,
        "quantity": limit.quantity.value,
        "period": limit.period,
        "cap": limit.cap,
        "rate": limit.rate,
        "lease": ask.lease,
        "keep": ask.keep,
        "spare": ask.spare,
        "settled": ask.settled,
        "heard": ask.heard,
        "since": ask.since,
        "least": ask.least,
        "need": ask.need,
        "want": ask.want,
        "recall": ask.recall,
    }
