"""Months are made ahead and dropped by the calendar, whatever the clock of the machine says."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import asyncpg
import pytest

from ailb_server.domain.audit import Actor, AuditEvent
from ailb_server.domain.errors import StorageUnavailableError
from ailb_server.spend.ledger_line import line_of
from ailb_server.storage.months import PostgresMonths
from ailb_server.storage.usage_rows import PostgresUsageRows
from tests.integration.audit.conftest import Archive
from tests.support.usage import entry

NOW = datetime(2023, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
EVENT = AuditEvent("weight.set", Actor("me"))


async def _write(archive: Archive, *moments: datetime) -> None:
    for moment in moments:
        await archive.log.append(replace(EVENT, at=moment.timestamp()))


def _months(archive: Archive, **kept: int) -> PostgresMonths:
    return PostgresMonths(archive.store, kept, "test-1")


async def test_the_next_month_is_there_before_it_begins(archive: Archive) -> None:
    before = {t: await archive.parts(t) for t in ("audit_log", "usage_ledger")}
    for _ in range(2):
        await _months(archive).make_ahead(NOW)
    for table, parts in before.items():
        assert await archive.parts(table) - parts == {f"{table}_202312", f"{table}_202401"}
    # What makes the parts of it holds for those made ahead too.
    for statement in ("TRUNCATE audit_log_202401", "TRUNCATE audit_log"):
        with pytest.raises(asyncpg.RaiseError, match="append-only"):
            await archive.fetch(statement)
    undescribed = await archive.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'audit_log_202401'::regclass"
        " AND attnum > 0 AND col_description(attrelid, attnum) IS NULL"
    )
    assert undescribed == []


async def test_whole_months_go_and_no_other(archive: Archive) -> None:
    kept = datetime(2022, 12, 1, tzinfo=UTC)
    await _write(
        archive, datetime(2019, 3, 5, tzinfo=UTC), datetime(2022, 11, 30, 23, 59, tzinfo=UTC)
    )
    await _write(archive, kept, NOW)
    months = _months(archive, audit_log=12)
    assert await months.drop_old(NOW) == ["audit_log_201903", "audit_log_202211"]
    rows = await archive.fetch("SELECT at FROM audit_log WHERE action = 'weight.set' ORDER BY at")
    assert rows == [(kept,), (NOW,)]
    assert await months.drop_old(NOW) == []
    told = "SELECT subject, actor, after FROM audit_trail WHERE action = 'month.dropped'"
    assert set(await archive.fetch(told)) == {
        (name, "ailb", '{"kept_months": 12}') for name in ("audit_log_201903", "audit_log_202211")
    }


async def test_usage_has_months_of_its_own(archive: Archive) -> None:
    old = datetime(2019, 3, 5, tzinfo=UTC)
    await PostgresUsageRows(archive.store).add([line_of(entry(old)), line_of(entry(NOW))])
    await _write(archive, old)
    months = _months(archive, usage_ledger=25, audit_log=0)
    assert await months.drop_old(NOW) == ["usage_ledger_201903"]
    assert "audit_log_201903" in await archive.parts("audit_log"), "0 keeps all"
    assert await archive.fetch("SELECT count(*) FROM usage_ledger") == [(1,)]


async def test_without_a_frozen_clock_it_goes_by_the_one_of_postgres(archive: Archive) -> None:
    await _write(archive, NOW)
    this_month = await archive.parts("audit_log") - {"audit_log_202312"}
    assert await _months(archive, audit_log=13).drop_old() == ["audit_log_202312"]
    assert await archive.parts("audit_log") == this_month


async def test_one_instance_drops(archive: Archive) -> None:
    await _write(archive, *(datetime(2019, month, 1, tzinfo=UTC) for month in range(1, 7)))
    months = _months(archive, audit_log=12)
    both = await asyncio.gather(months.drop_old(NOW), months.drop_old(NOW))
    assert sorted(name for one in both for name in one) == [
        f"audit_log_20190{month}" for month in range(1, 7)
    ]


async def test_what_is_read_is_not_waited_for(archive: Archive) -> None:
    await _write(archive, datetime(2019, 3, 5, tzinfo=UTC))
    months = _months(archive, audit_log=12)
    async with archive.store.connection() as reader, reader.transaction():
        await reader.execute("SELECT * FROM audit_log")
        with pytest.raises(StorageUnavailableError):
            await months.drop_old(NOW)
    assert await months.drop_old(NOW) == ["audit_log_201903"]


async def test_what_is_no_month_stays(archive: Archive) -> None:
    await archive.fetch(
        "CREATE TABLE audit_log_archive PARTITION OF audit_log"
        " FOR VALUES FROM ('2018-01-01') TO ('2018-06-01')"
    )
    assert await _months(archive, audit_log=12).drop_old(NOW) == []
