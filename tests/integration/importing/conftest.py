"""A store with all migrations applied."""

from collections.abc import AsyncIterator

import pytest

from ailb_server.storage.pool import Store


@pytest.fixture
async def store(migrated_dsn: str) -> AsyncIterator[Store]:
    store = Store(migrated_dsn, size=6)
    await store.open()
    yield store
    await store.close()
