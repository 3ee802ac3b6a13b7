"""A store of limits in memory, as exact as Postgres's; and what drives leases without a loop.

`tests/integration/limits/test_store.py` holds it to the answers of the real one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ailb_server.domain.errors import StorageUnavailableError
from ailb_server.domain.limits import Ask, Grant, Limit, Quantity

UNIT = 60_000_000
MICRO = 1_000_000
ALIVE = 6 * MICRO


def rpm(rate: int, burst: int | None = None, owner: int = 1) -> Limit:
    return Limit("key", owner, Quantity.REQUESTS, rate if burst is None else burst, rate)


def hourly(rate: int, burst: int | None = None) -> Limit:
    return Limit("limit", 1, Quantity.REQUESTS, rate if burst is None else burst, rate, period=3600)


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
    waits: int = 0
    waits_since: int = 0


@dataclass
class Row:
    """As in `limit_buckets`; times in microseconds."""

    cap: int
    rate: int
    level: int
    updated_at: int
    unit: int = UNIT
    spent: int = 0
    recalled_at: int | None = None
    recalls: int = 0
    leases: dict[int, Lease] = field(default_factory=dict)

    def was_recalled(self) -> bool:
        """Lately."""
        return self.recalled_at is not None and self.recalled_at > self.updated_at - 2 * MICRO

    def refill(self, until: int) -> None:
        at = self.updated_at
        while at < until and self.rate:
            live = [lease for lease in self.leases.values() if lease.held and lease.expires_at > at]
            room = (self.cap - sum(lease.held for lease in live)) * self.unit
            end = min([until, *(lease.expires_at for lease in live)])
            if self.level < room:
                self.level += min(room - self.level, self.rate * (end - at))
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

    def announced(self) -> Sequence[str]:
        """What was announced since the last call."""
        told, self.recalls = self.recalls, []
        return told

    async def exchange(self, asks: Sequence[Ask]) -> Sequence[Grant]:
        return self.exchanged(asks)

    def exchanged(self, asks: Sequence[Ask]) -> Sequence[Grant]:
        if self.away:
            raise StorageUnavailableError("away")
        self.statements += 1
        return [self._one(ask) for ask in asks]

    def _one(self, ask: Ask) -> Grant:
        limit = ask.limit
        row, now, lowered = self._row(limit)
        unit, mine = row.unit, row.leases.get(ask.lease)
        kept = mine is None or mine.expires_at > now
        rest = [lease for name, lease in row.leases.items() if name != ask.lease]
        others = [lease for lease in rest if lease.expires_at > now]
        elsewhere = sum(lease.held for lease in others)
        keep, spare = ask.keep, ask.spare
        if not kept or (limit.rate and mine is None):
            keep, spare = keep - spare, 0
        delta = ask.settled - (mine.settled if mine else 0)
        unanswered = self._settled(row, delta, elsewhere + keep, others, ask.since)
        if limit.rate and lowered:
            row.level = min(row.level, (row.cap - elsewhere - keep) * unit)
        left = row.level // unit if limit.rate else row.cap - row.spent - elsewhere - keep
        ahead = 0 if limit.rate else self._ahead(others, mine, left, now)
        granted = self._granted(row, ask, left - ahead, others)
        if granted:
            row.level -= granted * unit if limit.rate else 0
        elif ahead and left >= ask.least > 0:
            unanswered = max(1, unanswered)
        elif left - ahead < max(1, ask.least) and ask.recall and ask.least:
            unanswered = self._recall(row, ask, keep, others, unanswered)
        if not limit.rate and row.spent + keep + ask.least > row.cap and not granted:
            unanswered = 0
        spare += max(granted - ask.need, 0)
        row.leases[ask.lease] = self._lease(ask, mine, keep + granted, spare, granted)
        used = sum(lease.updated_at > now - 60 * MICRO for lease in rest)
        recalls = row.recalls if row.was_recalled() else 0
        return Grant(kept, granted, left - granted, elsewhere, unanswered, recalls, used, row.spent)

    def _row(self, limit: Limit) -> tuple[Row, int, bool]:
        """As it is now; and whether its limit was lowered."""
        now, unit = round(self.time() * MICRO), limit.window_s * MICRO
        level = limit.cap * unit if limit.rate else 0
        row = self.rows.setdefault(limit.name, Row(limit.cap, limit.rate, level, now, unit))
        now = max(now, row.updated_at)
        row.refill(now)
        lowered = limit.cap < row.cap
        row.updated_at, row.cap, row.rate = now, limit.cap, limit.rate
        return row, now, lowered

    def _granted(self, row: Row, ask: Ask, left: int, others: Sequence[Lease]) -> int:
        if left < ask.least or left <= 0:
            return 0
        extra = left // (4 * (1 + len([lease for lease in others if lease.held > 0])))
        want = ask.need if row.was_recalled() and not row.rate else ask.want
        return min(want, max(min(ask.need, left), extra))

    def _lease(self, ask: Ask, mine: Lease | None, held: int, spare: int, granted: int) -> Lease:
        now = self.rows[ask.limit.name].updated_at
        ends = now + round(self.ttl_s * MICRO)
        waits = 0 if granted or ask.limit.rate else ask.least
        since = mine.waits_since if mine and mine.waits else now
        return Lease(held, spare, ask.settled, ask.heard, now, ends, waits, since)

    def _ahead(self, others: Sequence[Lease], mine: Lease | None, left: int, now: int) -> int:
        """What those are to get who wait for longer, and who could have it."""
        since = mine.waits_since if mine and mine.waits else now
        ahead = 0
        for lease in sorted(others, key=lambda x: x.waits_since):
            recent = lease.updated_at > now - MICRO // 10
            if lease.waits and recent and lease.waits_since < since and ahead + lease.waits <= left:
                ahead += lease.waits
        return ahead

    def _settled(self, row: Row, delta: int, held: int, others: Sequence[Lease], since: int) -> int:
        if not row.rate:
            row.spent += delta
            heard, alive = since or row.recalls, row.updated_at - ALIVE
            return len(
                [x for x in others if x.held > 0 and x.heard < heard and x.updated_at > alive]
            )
        unit = row.unit
        if delta > 0:
            row.level -= delta * unit
        else:
            row.level = max(row.level, min(row.level - delta * unit, (row.cap - held) * unit))
        return 0

    def _recall(
        self, row: Row, ask: Ask, keep: int, others: Sequence[Lease], unanswered: int
    ) -> int:
        now = max(round(self.time() * MICRO), row.updated_at)
        holders = [lease for lease in others if lease.held > 0]
        if row.rate:
            enough = sum(lease.spare for lease in others) >= ask.least
            if enough and (row.recalled_at is None or row.recalled_at < now - MICRO):
                row.recalled_at = now
                row.recalls += 1
                self.recalls.append(f"{ask.limit.name}#{row.recalls}")
            return 0
        if holders and row.spent + keep + ask.least <= row.cap:
            row.recalled_at = now
            row.recalls += 1
            self.recalls.append(f"{ask.limit.name}#{row.recalls}")
            return len([x for x in holders if x.updated_at > now - ALIVE])
        return unanswered
