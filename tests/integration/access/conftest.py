"""Keys in a real Postgres, and instances that authenticate by it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from ailb_server.access.administration import KeyAdministration
from ailb_server.access.authenticator import Authenticator, LookupRules
from ailb_server.access.key_cache import CacheRules
from ailb_server.access.secret import Digester
from ailb_server.app.access import CHANNEL
from ailb_server.domain.api_key import NewKey
from ailb_server.domain.audit import Actor
from ailb_server.domain.errors import InvalidApiKeyError
from ailb_server.storage.api_keys import PostgresApiKeys
from ailb_server.storage.audit import PostgresAuditLog
from ailb_server.storage.notifications import Notifications
from ailb_server.storage.pool import Store

PEPPER = bytes(range(32))
ME = Actor("me", 9, "192.0.2.7", "r-1")
PATIENCE_S = 10.0


@dataclass
class Office:
    """Keys, and those who administer them."""

    store: Store
    keys: PostgresApiKeys
    administration: KeyAdministration

    async def make(self, new: NewKey) -> tuple[int, str]:
        key, secret = await self.administration.create(new, ME)
        return key.id, secret

    async def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        async with self.store.connection() as connection:
            return [tuple(row.values()) for row in await connection.fetch(query, *values)]


@contextlib.asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[Office]:
    store = Store(dsn, size=2)
    await store.open()
    keys = PostgresApiKeys(store, PostgresAuditLog(store, "test-1"))
    try:
        yield Office(store, keys, KeyAdministration(keys, Digester(PEPPER)))
    finally:
        await store.close()


@pytest.fixture
async def office(migrated_dsn: str) -> AsyncIterator[Office]:
    async with opened(migrated_dsn) as found:
        yield found


@contextlib.asynccontextmanager
async def instance(
    dsn: str, *, ttl_s: float = 60.0, deaf: bool = False
) -> AsyncIterator[Authenticator]:
    """An authenticator with a pool of its own; a `deaf` one hears no announcement."""
    async with opened(dsn) as office:
        rules = CacheRules(ttl_s=ttl_s, outage_ttl_s=600)
        found = Authenticator(
            office.keys, Digester(PEPPER), cache_rules=rules, rules=LookupRules(pause_s=0.1)
        )
        listening = asyncio.Event()

        def began() -> None:
            found.missed()
            listening.set()

        heard = {CHANNEL: lambda payload: found.changed(int(payload))}
        listener = Notifications(dsn, heard, began, ping_s=0.2)
        task = asyncio.create_task(listener.run())
        if deaf:
            task.cancel()
        else:
            await asyncio.wait_for(listening.wait(), PATIENCE_S)
        try:
            yield found
        finally:
            task.cancel()
            await asyncio.wait((task,))
            await found.close()


async def until(condition: Callable[[], Awaitable[bool]], patience_s: float = PATIENCE_S) -> float:
    """Polls; the seconds that it took. Fails after `patience_s`."""
    clock = asyncio.get_running_loop().time
    start = clock()
    while not await condition():
        assert clock() - start < patience_s, "it did not come true in time"
        await asyncio.sleep(0.005)
    return clock() - start


async def is_refused(found: Authenticator, secret: str) -> bool:
    try:
        if found.known(secret) is None:
            await found.authenticate(secret)
    except InvalidApiKeyError:
        return True
    return False
