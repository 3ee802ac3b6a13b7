"""From a secret to who calls, with a store that changes, fails and stalls."""

import asyncio

import pytest

from ailb_server.access.authenticator import MAX_SECRET, OPERATOR
from ailb_server.access.secret import new_secret
from ailb_server.domain.api_key import ApiKey
from ailb_server.domain.errors import (
    InvalidApiKeyError,
    OverloadedError,
    StorageUnavailableError,
)
from tests.unit.access.keys import ADMIN, World, api_key

AWAY = StorageUnavailableError("away")


async def refusal(world: World, secret: str) -> str:
    with pytest.raises(InvalidApiKeyError) as refused:
        await world.authenticator.authenticate(secret)
    assert secret not in str(refused.value)
    return refused.value.facts["problem"]


async def test_a_known_key_is_asked_for_once_in_its_time() -> None:
    world = World()
    secret = world.add(api_key())
    assert world.authenticator.known(secret) is None
    who = await world.authenticator.authenticate(secret)
    assert (who.tenant_id, who.tenant, who.key_id, who.name) == (7, "acme", 1, "ci")
    world.now += 9.9
    assert world.authenticator.known(secret) is who
    assert world.keys.asked == 1
    world.now += 0.2
    assert world.authenticator.known(secret) is None
    await world.authenticator.authenticate(secret)
    assert world.keys.asked == 2


async def test_the_administrators_secret_needs_no_store() -> None:
    world = World()
    world.keys.failure = AWAY
    assert await world.authenticator.authenticate(ADMIN) is OPERATOR
    assert world.authenticator.is_ours(ADMIN)
    assert not world.authenticator.is_ours(ADMIN[:-1])


@pytest.mark.parametrize("secret", ["sk-1", "ailb_short", ADMIN + "x", "x" * (MAX_SECRET + 1)])
async def test_what_is_no_key_of_ours_never_reaches_the_store(secret: str) -> None:
    world = World()
    world.keys.failure = AWAY
    assert await refusal(world, secret) == "malformed"
    assert world.authenticator.known(secret) is None
    assert world.keys.asked == 0


async def test_an_unknown_key_is_asked_for_once_in_a_while() -> None:
    world = World()
    secret = new_secret()
    assert [await refusal(world, secret) for _ in range(3)] == ["unknown"] * 3
    assert world.keys.asked == 1
    world.now += 5.1
    await refusal(world, secret)
    assert world.keys.asked == 2


async def test_a_key_made_elsewhere_is_known_as_soon_as_it_is_told() -> None:
    world = World()
    secret = world.add(api_key())
    match = world.keys.matches.pop(world.digester.digest(secret))
    await refusal(world, secret)
    world.keys.matches[world.digester.digest(secret)] = match
    world.authenticator.changed(match.key.id)
    assert (await world.authenticator.authenticate(secret)).key_id == 1


async def test_a_revocation_is_in_force_when_it_is_told_or_in_time() -> None:
    for told in (True, False):
        world = World()
        secret = world.add(api_key())
        await world.authenticator.authenticate(secret)
        world.change(secret, revoked_at=world.now)
        if told:
            world.authenticator.changed(1)
        else:
            world.now += 10.1
        assert world.authenticator.known(secret) is None
        assert await refusal(world, secret) == "revoked"
        assert world.authenticator.known(secret) is None


async def test_time_runs_out_within_the_cache() -> None:
    world = World()
    secret = world.add(api_key(), until=world.now + 3)
    await world.authenticator.authenticate(secret)
    world.now += 3
    assert world.authenticator.known(secret) is None
    assert await refusal(world, secret) == "expired"
    assert world.keys.asked == 1


async def test_an_outage_leaves_known_keys_and_never_says_that_a_key_is_wrong() -> None:
    world = World()
    secret, other = world.add(api_key()), world.add(api_key(2))
    who = await world.authenticator.authenticate(secret)
    world.keys.failure = AWAY
    world.now += 50
    assert await world.authenticator.authenticate(secret) == who
    asked = world.keys.asked
    # Not asked again for every call, and again after a moment.
    await world.authenticator.authenticate(secret)
    assert world.keys.asked == asked
    world.now += 1.1
    await world.authenticator.authenticate(secret)
    assert world.keys.asked == asked + 1
    for unknown in (other, new_secret()):
        with pytest.raises(StorageUnavailableError):
            await world.authenticator.authenticate(unknown)
    world.now += 50
    with pytest.raises(StorageUnavailableError):
        await world.authenticator.authenticate(secret)


async def test_a_key_told_as_changed_is_not_used_in_an_outage() -> None:
    world = World()
    secret = world.add(api_key())
    await world.authenticator.authenticate(secret)
    world.keys.failure = AWAY
    world.authenticator.changed(1)
    with pytest.raises(StorageUnavailableError):
        await world.authenticator.authenticate(secret)


async def test_after_missed_changes_keys_are_read_anew_but_outlast_an_outage() -> None:
    world = World()
    secret = world.add(api_key())
    who = await world.authenticator.authenticate(secret)
    world.authenticator.missed()
    assert world.authenticator.known(secret) is None
    world.keys.failure = AWAY
    assert await world.authenticator.authenticate(secret) == who
    world.keys.failure = None
    world.now += 2
    world.change(secret, revoked_at=world.now)
    assert await refusal(world, secret) == "revoked"


async def test_a_store_that_stalls_is_an_outage() -> None:
    world = World(wait_s=0.01)
    secret, other = world.add(api_key()), world.add(api_key(2))
    who = await world.authenticator.authenticate(secret)
    world.keys.gate = asyncio.Event()
    world.now += 20
    assert await world.authenticator.authenticate(secret) == who
    with pytest.raises(StorageUnavailableError):
        await world.authenticator.authenticate(other)
    await world.authenticator.close()


async def test_one_question_for_all_who_wait() -> None:
    world = World()
    secret = world.add(api_key())
    world.keys.gate = asyncio.Event()
    waiting = [asyncio.create_task(world.authenticator.authenticate(secret)) for _ in range(50)]
    await asyncio.sleep(0)
    # Who gives up does not take the answer from the others.
    waiting.pop(0).cancel()
    await asyncio.sleep(0)
    world.keys.gate.set()
    assert {who.key_id for who in await asyncio.gather(*waiting)} == {1}
    assert world.keys.asked == 1


async def test_lookups_are_bounded() -> None:
    world = World(max_lookups=2)
    world.keys.gate = asyncio.Event()
    waiting = [
        asyncio.create_task(world.authenticator.authenticate(new_secret())) for _ in range(2)
    ]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await world.authenticator.authenticate(new_secret())
    world.keys.gate.set()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert await refusal(world, new_secret()) == "unknown"


async def test_an_answer_read_before_a_change_is_not_kept() -> None:
    world = World()
    secret = world.add(api_key())
    world.keys.gate = asyncio.Event()
    early = asyncio.create_task(world.authenticator.authenticate(secret))
    await world.keys.reading.wait()
    world.change(secret, revoked_at=world.now)
    world.authenticator.changed(1)
    late = asyncio.create_task(world.authenticator.authenticate(secret))
    world.keys.gate.set()
    assert (await early).key_id == 1
    with pytest.raises(InvalidApiKeyError):
        await late
    assert await refusal(world, secret) == "revoked"


async def test_the_cache_is_bounded() -> None:
    world = World()
    secrets = [world.add(api_key(number)) for number in range(1, 5)]
    for secret in secrets:
        await world.authenticator.authenticate(secret)
    assert world.authenticator.known(secrets[0]) is None
    assert world.authenticator.known(secrets[3]) is not None
    for _ in range(10):
        await refusal(world, new_secret())
    assert len(world.authenticator._cache) == 6


async def test_a_rotated_secret_works_until_its_grace_is_over() -> None:
    world = World()
    key: ApiKey = api_key()
    new, old = world.add(key), world.add(key, until=world.now + 60)
    for secret in (new, old):
        assert (await world.authenticator.authenticate(secret)).key_id == 1
    world.now += 61
    assert await refusal(world, old) == "expired"
    assert (await world.authenticator.authenticate(new)).key_id == 1
