"""A store of limits in memory, as exact as Postgres's; and what drives leases without a loop.

`tests/integration/limits/test_store.py` holds it to the answers of the real one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ailb_server.domain.errors import StorageUnavailableError
from ailb_server.domain.limits import Ask, Grant, Limit, Quantity

UNIT = 60_000_000
MICRO = 1_000_000


def rpm(rate: int, burst: int | None = None, owner: int = 1) -> Limit:
    return Limit("key", owner, Quantity.REQUESTS, rate if burst is None else burst, rate)


def budget(cap: int, owner: int = 1) -> Limit:
    return Limit("key", owner, Quantity.MONEY, cap, period=202611)


def slots(cap: int, owner: int = 1) -> Limit:
    return Limit("key", owner, Quantity.SLOTS, cap)


@dataclass
class Lease:
    held: int
    spare: int
    settled: int
    heard: int
    updated_at: int
    expires_at: int


@dataclass
class Row:
    """As in `limit_buckets`; times in microseconds."""

    cap: int
    per_minute: int
    level: int
    updated_at: int
    spent: int = 0
    recalled_at: int | None = None
    recalls: int = 0
    leases: dict[int, Lease] = field(default_factory=dict)

    def refill(self, until: int) -> None:
        at = self.updated_at
        while at < until and self.per_minute:
            live = [lease for lease in self.leases.values() if lease.held and lease.expires_at > at]
            room = (self.cap - sum(lease.held for lease in live)) * UNIT
            end = min([until, *(lease.expires_at for lease in live)])
            if self.level < room:
                self.level += min(room - self.level, self.per_minute * (end - at))
            at = end


@dataclass
class MemoryLimits:
    """A `LimitStore`. `away` makes it fail; `recalls` are the names that were announced."""

    time: Callable[[], float]
    ttl_s: float = 15.0
    away: bool = False
    rows: dict[str, Row] = field(default_factory=dict)
    recalls: list[str] = field(default_factory=list)
    statements: int = 0

    async def exchange(self, asks: Sequence[Ask]) -> Sequence[Grant]:
        return self.exchanged(asks)

    def exchanged(self, asks: Sequence[Ask]) -> Sequence[Grant]:
        if self.away:
            raise StorageUnavailableError("away")
        self.statements += 1
        return [self._one(ask) for ask in asks]

    def _one(self, ask: Ask) -> Grant:
        limit, now = ask.limit, round(self.time() * MICRO)
        level = limit.cap * UNIT if limit.per_minute else 0
        row = self.rows.setdefault(limit.name, Row(limit.cap, limit.per_minute, level, now))
        now = max(now, row.updated_at)
        row.refill(now)
        row.cap, row.per_minute = limit.cap, limit.per_minute
        mine = row.leases.get(ask.lease)
        kept = mine is None or mine.expires_at > now
        others = [
            lease
            for name, lease in row.leases.items()
            if name != ask.lease and lease.expires_at > now
        ]
        elsewhere = sum(lease.held for lease in others)
        keep, spare = ask.keep, ask.spare
        if not kept or (limit.per_minute and mine is None):
            keep, spare = keep - spare, 0
        delta = ask.settled - (mine.settled if mine else 0)
        unanswered = self._settled(row, delta, elsewhere + keep, others)
        left = row.level // UNIT if limit.per_minute else row.cap - row.spent - elsewhere - keep
        holders = [lease for lease in others if lease.held > 0]
        granted = 0
        if left >= ask.least and left > 0:
            extra = left // (4 * (1 + len(holders)))
            granted = min(ask.want, max(min(ask.need, left), extra))
        elif ask.recall and ask.least:
            unanswered = self._recall(row, ask, keep, others, unanswered)
        if not limit.per_minute and row.spent + keep + ask.least > row.cap and not granted:
            unanswered = 0
        if limit.per_minute:
            row.level -= granted * UNIT
        row.updated_at = now
        spare += max(granted - ask.need, 0)
        ends = now + round(self.ttl_s * MICRO)
        grant = Grant(kept, granted, left - granted, elsewhere, unanswered, row.spent)
        settled = _never_less(row, ask, mine)
        row.leases[ask.lease] = Lease(keep + granted, spare, settled, ask.heard, now, ends)
        return grant

    def _settled(self, row: Row, delta: int, held: int, others: Sequence[Lease]) -> int:
        if not row.per_minute:
            row.spent += delta
            return len([x for x in others if x.held > 0 and x.heard < row.recalls])
        if delta > 0:
            row.level -= delta * UNIT
        else:
            row.level = max(row.level, min(row.level - delta * UNIT, (row.cap - held) * UNIT))
        return 0

    def _recall(
        self, row: Row, ask: Ask, keep: int, others: Sequence[Lease], unanswered: int
    ) -> int:
        now = max(round(self.time() * MICRO), row.updated_at)
        holders = [lease for lease in others if lease.held > 0]
        if row.per_minute:
            enough = sum(lease.spare for lease in others) >= ask.least
            if enough and (row.recalled_at is None or row.recalled_at < now - MICRO):
                row.recalled_at = now
                row.recalls += 1
                self.recalls.append(ask.limit.name)
            return 0
        if holders and row.spent + keep + ask.least <= row.cap:
            row.recalled_at = now
            row.recalls += 1
            self.recalls.append(ask.limit.name)
            return len(holders)
        return unanswered


def _never_less(row: Row, ask: Ask, mine: Lease | None) -> int:
    """As the trigger `keep_settled`."""
    if mine is None or ask.limit.quantity is not Quantity.MONEY or ask.settled >= mine.settled:
        return ask.settled
    row.spent += mine.settled - ask.settled
    return mine.settled
