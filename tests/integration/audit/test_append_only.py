"""Rows are only ever added, whoever tries otherwise: the gateway's own role, and a superuser."""

from dataclasses import replace

import asyncpg
import pytest

from ailb_server.domain.audit import Actor, AuditEvent
from tests.integration.audit.conftest import Archive
from tests.support.postgres import database_dsn

TRIES = (
    "UPDATE {table} SET actor = 'nobody'",
    "DELETE FROM {table}",
    "TRUNCATE {table}",
    "INSERT INTO {table} (at, id, actor, action) SELECT at, id, 'x', 'x' FROM {table}"
    " ON CONFLICT (at, id) DO UPDATE SET actor = excluded.actor",
    "MERGE INTO {table} a USING {table} b ON a.id = b.id WHEN MATCHED THEN DELETE",
)


@pytest.mark.parametrize("statement", TRIES, ids=[one.split()[0] for one in TRIES])
@pytest.mark.parametrize("role", ["ailb", "postgres"])
async def test_nobody_changes_or_removes_rows(
    archive: Archive, migrated_dsn: str, role: str, statement: str
) -> None:
    await archive.log.append(AuditEvent("weight.set", Actor("me")))
    ((part, database),) = await archive.fetch(
        "SELECT tableoid::regclass::text, current_database()::text FROM audit_log"
    )
    connection = await asyncpg.connect(database_dsn(migrated_dsn, str(database), role))
    try:
        assert await connection.fetchval("SELECT current_user") == role
        for table in ("audit_log", part):
            with pytest.raises(asyncpg.RaiseError, match="append-only"):
                await connection.execute(statement.format(table=table))
    finally:
        await connection.close()
    assert await archive.fetch("SELECT actor FROM audit_log") == [("me",)]


async def test_an_event_that_is_sent_again_is_one_row(archive: Archive) -> None:
    once = AuditEvent("weight.set", Actor("me"), subject="r/blue", at=1_800_000_000.123456)
    for event in (once, once, replace(once, at=1_800_000_000.123458), replace(once, subject="r")):
        await archive.log.append(event)
    at_no_time = replace(once, at=None)
    for event in (at_no_time, at_no_time):
        await archive.log.append(event)
    assert await archive.fetch("SELECT count(*) FROM audit_log") == [(5,)]
