"""The ledger on a database of its own."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest

from ailb_server.domain.usage import UsageEntry
from ailb_server.spend.ledger_line import line_of
from ailb_server.storage.pool import Store
from ailb_server.storage.usage_queries import PostgresUsageQueries
from ailb_server.storage.usage_rows import PostgresUsageRows


@dataclass
class Books:
    """Both sides of the ledger."""

    store: Store

    def __post_init__(self) -> None:
        self.rows = PostgresUsageRows(self.store)
        self.queries = PostgresUsageQueries(self.store)

    async def add(self, *entries: UsageEntry) -> int:
        return await self.rows.add([line_of(entry) for entry in entries])

    async def fetch(self, query: str, *values: object) -> Sequence[tuple[object, ...]]:
        async with self.store.connection() as connection:
            return [tuple(row.values()) for row in await connection.fetch(query, *values)]


@pytest.fixture
async def books(migrated_dsn: str) -> AsyncIterator[Books]:
    store = Store(migrated_dsn, size=2)
    await store.open()
    yield Books(store)
    await store.close()
