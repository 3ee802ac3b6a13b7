"""Memory of one instance, with an embedder without a model, on a database of its own."""

from collections.abc import AsyncIterator

import pytest

from ailb_server.domain.principal import Principal
from ailb_server.storage.pool import Store
from tests.integration.memory.instance import Instance
from tests.support.postgres import sql

OTHER = Principal(2, "other")


@pytest.fixture
async def store(migrated_dsn: str) -> AsyncIterator[Store]:
    store = Store(migrated_dsn, size=5)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def memory(store: Store) -> AsyncIterator[Instance]:
    """Its background tasks do not run, unless a test starts them."""
    instance = Instance(store)
    yield instance
    await instance.memory.close()


@pytest.fixture
def other(migrated_dsn: str) -> Principal:
    """Another tenant than the default one."""
    sql(migrated_dsn, "INSERT INTO tenants (name) VALUES ('other')")
    return OTHER
