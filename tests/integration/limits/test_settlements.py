"""What budgets have paid is what the usage ledger has: to the micro-dollar, after a kill too."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ailb_server.domain.limits import Ask, Grant, Settlement
from ailb_server.spend.ledger_line import line_of
from ailb_server.storage.limits import PostgresLimits
from ailb_server.storage.pool import Store
from ailb_server.storage.usage_rows import PostgresUsageRows
from tests.integration.usage.test_kills import Writer, files
from tests.support.limits import budget
from tests.support.postgres import sql
from tests.support.usage import entry

PERIOD = 202611
LEASE = 2**62 - 7
START = 4_000_000_000.0


@dataclass
class Desk:
    """A store of limits with one lease of one budget, and the ledger beside it."""

    store: Store
    lease: int = LEASE
    settled: int = 0
    now: float = START
    lines: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.limits = PostgresLimits(self.store, "test", 15.0, lambda: self.now)
        self.rows = PostgresUsageRows(self.store)

    def ask(self, keep: int = 0, want: int = 0, settled: int | None = None) -> Ask:
        told = self.settled if settled is None else settled
        return Ask(
            budget(1000), self.lease, keep, keep, told, 0, 0, min(want, 1), want, want, recall=False
        )

    async def exchange(self, keep: int = 0, want: int = 0, settled: int | None = None) -> Grant:
        (grant,) = await self.limits.exchange([self.ask(keep, want, settled)])
        return grant

    def paid(self, cost: int, at: datetime | None = None) -> bytes:
        """A request that was settled, as the journal has it."""
        self.settled += cost
        settlement = Settlement("key", 1, PERIOD, 1000, self.lease, self.settled)
        row = entry(at or datetime.now(UTC), cost_micro_dollars=cost, settlements=(settlement,))
        self.lines.append(line_of(row))
        return self.lines[-1]

    async def spent(self) -> int:
        return (await self.budget())["spent"]

    async def budget(self) -> Mapping[str, int]:
        async with self.store.connection() as connection:
            row = await connection.fetchrow(
                "SELECT spent, cap, l.held, l.spare, l.settled FROM limit_buckets b"
                " LEFT JOIN limit_leases l USING (scope, owner_id, quantity, period)"
            )
        assert row is not None
        return dict(row.items())


@pytest.fixture
async def desk(migrated_dsn: str) -> AsyncIterator[Desk]:
    store = Store(migrated_dsn, size=2)
    await store.open()
    yield Desk(store)
    await store.close()


async def test_rows_tell_what_a_killed_lease_did_not(desk: Desk) -> None:
    await desk.exchange(want=100)
    desk.paid(10)
    await desk.exchange(keep=90)
    lines = [desk.paid(7), desk.paid(3)]
    for _ in range(2):
        await desk.rows.add(lines)
        told = await desk.budget()
        # What was spent is no longer held.
        assert (told["spent"], told["held"], told["spare"], told["settled"]) == (20, 80, 80, 20)


async def test_rows_out_of_order_and_a_lease_that_lives_count_once(desk: Desk) -> None:
    await desk.exchange(want=100)
    first, second = desk.paid(10), desk.paid(5)
    await desk.rows.add([second])
    await desk.rows.add([first])
    assert await desk.spent() == 15
    assert (await desk.exchange(keep=85)).spent == 15
    desk.paid(1)
    assert (await desk.exchange(keep=84)).spent == 16
    await desk.rows.add(desk.lines)
    assert await desk.spent() == 16


async def test_an_exchange_on_its_way_takes_nothing_back(desk: Desk) -> None:
    await desk.exchange(want=100)
    await desk.rows.add([desk.paid(10)])
    # It was made before the request was settled; killed after it, nothing more would be told.
    grant = await desk.exchange(keep=100, settled=0)
    assert grant.left == 900
    assert await desk.spent() == 10
    assert (await desk.exchange(keep=90)).left == 900
    assert await desk.spent() == 10


async def test_what_an_outage_let_in_is_told_by_rows_alone(desk: Desk) -> None:
    await desk.rows.add([desk.paid(10)])
    assert await desk.budget() == {"spent": 10, "cap": 1000, "held": 0, "spare": 0, "settled": 10}
    desk.paid(2)
    assert (await desk.exchange()).spent == 12


async def test_what_nobody_knows_any_more_is_not_counted_twice(desk: Desk) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=2)
    await desk.rows.add([desk.paid(10, at=long_ago)])
    assert await desk.spent() == 0


async def test_two_processes_of_one_budget_do_not_mix(desk: Desk) -> None:
    other = replace(desk, lease=1, lines=[])
    await desk.exchange(want=100)
    await other.exchange(want=100)
    await desk.rows.add([desk.paid(10), other.paid(4), desk.paid(1)])
    async with desk.store.connection() as connection:
        assert await connection.fetchval("SELECT spent FROM limit_buckets") == 15


async def test_rows_of_before_tell_nothing(desk: Desk) -> None:
    line = line_of(entry(datetime.now(UTC))).replace(b',"settlements":[]', b"")
    assert b"settlements" not in line
    assert await desk.rows.add([line]) == 1


class Spender(Writer):
    """See `spender`."""

    program = "tests.integration.limits.spender"


def books(dsn: str) -> Sequence[str]:
    return sql(
        dsn,
        "SELECT scope, spent, (SELECT sum(cost_micro_dollars) FROM usage_ledger) AS ledger"
        "  FROM limit_buckets WHERE quantity = 'money' ORDER BY scope",
    ).splitlines()


def journalled(directory: Path) -> list[bytes]:
    """The rows that wait, without their sums; a torn one is none."""
    return [
        line[9:-1]
        for path in directory.iterdir()
        for line in path.read_bytes().splitlines(keepends=True)
        if line.endswith(b"\n")
    ]


async def test_the_ledger_is_the_budget_after_kills(migrated_dsn: str, tmp_path: Path) -> None:
    for n in range(3):
        async with Spender(migrated_dsn, tmp_path, f"s{n}") as one:
            await one.wait_for(150 + 60 * n)
            await one.kill()
    assert files(tmp_path), "a kill leaves a journal"
    async with Spender(migrated_dsn, tmp_path, "last") as last:
        await last.wait_for(20)
        await last.end()
    assert files(tmp_path) == []
    key, tenant = (line.split("|") for line in books(migrated_dsn))
    assert (key[0], tenant[0]) == ("key", "tenant")
    assert int(key[2]) > 0
    assert key[1] == key[2]
    assert tenant[1] == tenant[2]


async def test_it_is_without_another_word_of_a_lease(migrated_dsn: str, tmp_path: Path) -> None:
    """As the test before, but the last one is killed too, and only its rows are stored."""
    async with Spender(migrated_dsn, tmp_path, "s") as one:
        await one.wait_for(300)
        await one.kill()
    store = Store(migrated_dsn, size=1)
    await store.open()
    await PostgresUsageRows(store).add(journalled(tmp_path))
    await store.close()
    for line in books(migrated_dsn):
        _, spent, ledger = line.split("|")
        assert spent == ledger
