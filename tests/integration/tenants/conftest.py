"""A database of three tenants."""

from collections.abc import AsyncIterator

import pytest

from ailb_server.storage.pool import Store
from tests.support.postgres import sql


@pytest.fixture
async def store(migrated_dsn: str) -> AsyncIterator[Store]:
    sql(migrated_dsn, "INSERT INTO tenants (name) VALUES ('bert'), ('carl')")
    store = Store(migrated_dsn, size=6)
    await store.open()
    yield store
    await store.close()
