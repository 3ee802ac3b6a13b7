"""What signed requests used once, in a real Postgres, for two instances."""

import asyncio
import time

import pytest

from ailb_server.access.secret import Digester
from ailb_server.access.signatures import Signatures, Signed
from ailb_server.domain.api_key import KeyTerms, NewKey
from ailb_server.domain.errors import InvalidApiKeyError, StorageUnavailableError
from ailb_server.storage import signatures
from ailb_server.storage.pool import Store
from ailb_server.storage.signatures import PostgresSignatures
from tests.integration.access.conftest import ME, PEPPER, Office, opened
from tests.support.signing import authorization

CALL = Signed("/ailb.v1.ChatService/CreateChatCompletion", b"message")
SIGNED = KeyTerms("service", require_signature=True)


async def made(office: Office) -> tuple[int, str]:
    """A key's number and its signing secret."""
    key_id, secret = await office.make(NewKey(SIGNED, "acme"))
    return key_id, office.administration.signing_secret(secret)


def signatures_of(store: Store) -> Signatures:
    return Signatures(PostgresSignatures(store), Digester(PEPPER))


async def test_of_a_hundred_at_once_on_two_instances_one_gets_in(
    office: Office, migrated_dsn: str
) -> None:
    key_id, secret = await made(office)
    header = authorization(key_id, secret, CALL.target, CALL.body)
    async with opened(migrated_dsn) as other:
        both = [signatures_of(office.store), signatures_of(other.store)]
        told = await asyncio.gather(
            *(both[n % 2].authenticate(header, CALL) for n in range(100)), return_exceptions=True
        )
    assert sum(not isinstance(one, Exception) for one in told) == 1
    problems = [e.facts["problem"] for e in told if isinstance(e, InvalidApiKeyError)]
    assert problems == ["replayed"] * 99


async def test_the_setting_is_kept_told_and_in_force_at_once(office: Office) -> None:
    key_id, secret = await made(office)
    server = signatures_of(office.store)

    async def enter() -> str:
        principal = await server.authenticate(
            authorization(key_id, secret, CALL.target, CALL.body), CALL
        )
        return principal.tenant

    assert (await office.administration.get(key_id)).terms.require_signature
    ((after,),) = await office.rows("SELECT after ->> 'require_signature' FROM audit_log")
    assert after == "true"
    assert await enter() == "acme"
    _, other = await office.administration.rotate(key_id, 60, ME)
    assert await enter() == "acme"
    secret = office.administration.signing_secret(other)
    assert await enter() == "acme"
    await office.administration.revoke(key_id, ME)
    with pytest.raises(InvalidApiKeyError, match="revoked"):
        await enter()


async def test_a_rotation_without_grace_ends_the_old_one(office: Office) -> None:
    key_id, secret = await made(office)
    await office.administration.rotate(key_id, 0, ME)
    with pytest.raises(InvalidApiKeyError, match="not right"):
        await signatures_of(office.store).authenticate(
            authorization(key_id, secret, CALL.target, CALL.body), CALL
        )


async def test_only_what_is_too_old_is_forgotten(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signatures, "FORGET_ROWS", 3)
    key_id, _ = await made(office)
    used = PostgresSignatures(office.store)
    now = time.time()
    for number in range(4):
        assert await used.use_once(key_id, f"old-nonce-{number:08}", now - 1)
    assert await used.use_once(key_id, "new-nonce-00000000", now + 60)
    assert await used.forget()
    assert not await used.forget()
    assert await office.rows("SELECT nonce FROM used_nonces") == [("new-nonce-00000000",)]
    assert not await used.use_once(key_id, "new-nonce-00000000", now + 60)


async def test_a_store_that_is_away_is_told_as_such() -> None:
    closed = Store("postgresql://ailb@127.0.0.1:1/ailb")
    header = authorization(1, "ailbs_", CALL.target, CALL.body)
    with pytest.raises(StorageUnavailableError):
        await signatures_of(closed).authenticate(header, CALL)


async def test_removal_runs_on_its_index(office: Office) -> None:
    async with office.store.connection() as connection, connection.transaction():
        await connection.execute("SET LOCAL enable_seqscan = off")
        rows = await connection.fetch("EXPLAIN " + signatures._FORGET, 10)
    assert any("used_nonces_forget_after" in row["QUERY PLAN"] for row in rows)
