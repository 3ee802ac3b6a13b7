"""The audit log on a database of its own."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest

from ailb_server.storage.audit import PostgresAuditLog
from ailb_server.storage.audit_queries import PostgresAuditQueries
from ailb_server.storage.pool import Store


@dataclass
class Archive:
    """Both sides of the audit log."""

    store: Store

    def __post_init__(self) -> None:
        self.log = PostgresAuditLog(self.store, "test-1")
        self.queries = PostgresAuditQueries(self.store)

    async def fetch(self, query: str, *values: object) -> Sequence[tuple[object, ...]]:
        async with self.store.connection() as connection:
            return [tuple(row.values()) for row in await connection.fetch(query, *values)]

    async def parts(self, table: str) -> set[str]:
        rows = await self.fetch(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = $1::regclass", table
        )
        return {str(row[0]) for row in rows}


@pytest.fixture
async def archive(migrated_dsn: str) -> AsyncIterator[Archive]:
    store = Store(migrated_dsn, size=2)
    await store.open()
    yield Archive(store)
    await store.close()
