"""Two instances on one database: changes, lost announcements, outages."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from ailb_server.access.secret import new_secret
from ailb_server.domain.api_key import KeyTerms, NewKey
from ailb_server.domain.errors import InvalidApiKeyError, StorageUnavailableError
from ailb_server.local.postgres import EmbeddedPostgres
from ailb_server.storage.migrations import migrate
from tests.integration.access.conftest import ME, Office, instance, is_refused, opened, until
from tests.support.postgres import REPOSITORY

IN_FORCE_S = 1.0


async def test_a_revocation_is_in_force_on_every_instance_within_a_second(
    office: Office, migrated_dsn: str
) -> None:
    key_id, secret = await office.make(NewKey(KeyTerms("ci"), "acme"))
    async with instance(migrated_dsn) as one, instance(migrated_dsn) as other:
        for found in (one, other):
            assert (await found.authenticate(secret)).tenant == "acme"
        await office.administration.revoke(key_id, ME)
        for found in (one, other):
            assert await until(partial(is_refused, found, secret)) < IN_FORCE_S


async def test_a_change_by_psql_is_heard_too(office: Office, migrated_dsn: str) -> None:
    key_id, secret = await office.make(NewKey(KeyTerms("ci")))
    async with instance(migrated_dsn) as found:
        await found.authenticate(secret)
        await office.rows("UPDATE api_keys SET revoked_at = now() WHERE id = $1", key_id)
        assert await until(lambda: is_refused(found, secret)) < IN_FORCE_S


async def test_new_terms_are_in_force_within_a_second(office: Office, migrated_dsn: str) -> None:
    key_id, secret = await office.make(NewKey(KeyTerms("ci")))
    async with instance(migrated_dsn) as found:
        assert (await found.authenticate(secret)).may_use("m")
        await office.administration.update(
            key_id, lambda terms: replace(terms, allowed_models=("other",)), ME
        )

        async def changed() -> bool:
            return not (await found.authenticate(secret)).may_use("m")

        assert await until(changed) < IN_FORCE_S


async def test_a_key_made_elsewhere_opens_at_once(office: Office, migrated_dsn: str) -> None:
    async with instance(migrated_dsn) as found:
        with pytest.raises(InvalidApiKeyError):
            await found.authenticate(new_secret())
        _, secret = await office.make(NewKey(KeyTerms("ci")))
        assert (await found.authenticate(secret)).name == "ci"


async def test_a_lost_announcement_costs_the_ttl_at_most(office: Office, migrated_dsn: str) -> None:
    key_id, secret = await office.make(NewKey(KeyTerms("ci")))
    async with instance(migrated_dsn, ttl_s=0.3, deaf=True) as found:
        await found.authenticate(secret)
        await office.administration.revoke(key_id, ME)
        assert found.known(secret) is not None
        assert await until(lambda: is_refused(found, secret)) < 2


async def test_what_was_announced_while_nobody_listened_is_not_missed(
    office: Office, migrated_dsn: str
) -> None:
    key_id, secret = await office.make(NewKey(KeyTerms("ci")))
    async with instance(migrated_dsn) as found:
        await found.authenticate(secret)
        async with office.store.connection() as connection, connection.transaction():
            # Committed together: the listener's end is certain before the change is announced.
            await connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE application_name = 'ailb listener' AND datname = current_database()"
            )
            await connection.execute("UPDATE api_keys SET revoked_at = now() WHERE id = $1", key_id)
        assert await until(lambda: is_refused(found, secret)) < 5


@pytest.fixture
async def mortal(tmp_path: Path) -> AsyncIterator[tuple[EmbeddedPostgres, str]]:
    """A Postgres of one's own, which may be stopped."""
    server = EmbeddedPostgres(tmp_path / "postgres", settings={"fsync": "off"})
    dsn = await asyncio.to_thread(server.start)
    await migrate(dsn, REPOSITORY / "migrations")
    try:
        yield server, dsn
    finally:
        await asyncio.to_thread(server.stop)


async def test_an_outage_is_a_503_for_unknown_keys_and_nothing_for_known_ones(
    mortal: tuple[EmbeddedPostgres, str],
) -> None:
    server, dsn = mortal
    async with AsyncExitStack() as stack:
        office = await stack.enter_async_context(opened(dsn))
        key_id, secret = await office.make(NewKey(KeyTerms("ci"), "acme"))
        _, cold = await office.make(NewKey(KeyTerms("cold")))
        found = await stack.enter_async_context(instance(dsn, ttl_s=0.05))
        await found.authenticate(secret)
        await asyncio.to_thread(server.stop)
        await asyncio.sleep(0.1)
        for _ in range(20):
            assert (await found.authenticate(secret)).tenant == "acme"
        for unknown in (cold, new_secret()):
            with pytest.raises(StorageUnavailableError):
                await found.authenticate(unknown)
        with pytest.raises(InvalidApiKeyError):
            await found.authenticate("no key at all")
        assert await asyncio.to_thread(server.start) == dsn

        async def back() -> bool:
            try:
                return (await found.authenticate(cold)).name == "cold"
            except StorageUnavailableError:
                return False

        await until(back)
        await office.administration.revoke(key_id, ME)
        await until(lambda: is_refused(found, secret))
