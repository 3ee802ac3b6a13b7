"""Signatures: the documented example, and everything that must not pass."""

import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from ailb_server.access.secret import Digester, is_secret, new_secret
from ailb_server.access.signatures import Signatures, Signed, signature_of, text_to_sign
from ailb_server.domain.api_key import ApiKey, SigningKey
from ailb_server.domain.errors import (
    InvalidApiKeyError,
    OverloadedError,
    StorageUnavailableError,
)
from tests.support.signing import authorization
from tests.support.stack import REPOSITORY
from tests.unit.access.keys import PEPPER, api_key

CALL = Signed("POST /v1/chat/completions", b'{"model":"m"}')
NOW = 1_767_225_600


@dataclass
class Store:
    """One key, and what was used."""

    found: SigningKey | None
    failure: Exception | None = None
    used: dict[tuple[int, str], float] = field(default_factory=dict)

    async def signing_key(self, key_id: int) -> SigningKey | None:
        if self.failure is not None:
            raise self.failure
        return self.found if self.found and self.found.key.id == key_id else None

    async def use_once(self, key_id: int, nonce: str, until: float) -> bool:
        if (key_id, nonce) in self.used:
            return False
        self.used[key_id, nonce] = until
        return True


@dataclass
class World:
    """A key, its signing secret and a server."""

    now: float = NOW

    def __post_init__(self) -> None:
        digester = Digester(PEPPER)
        digest = digester.digest(new_secret())
        self.secret = digester.signing_secret(digest)
        self.store = Store(SigningKey(api_key(17), ((digest, None),)))
        self.server = Signatures(self.store, digester, wall=lambda: self.now)

    def header(self, call: Signed = CALL, **changes: Any) -> str:
        return authorization(17, self.secret, call.target, call.body, **{"now": NOW, **changes})

    async def problem(self, header: str, call: Signed = CALL) -> str:
        with pytest.raises(InvalidApiKeyError) as refused:
            await self.server.authenticate(header, call)
        assert self.secret not in str(refused.value)
        return refused.value.facts["problem"]

    def change(self, **changes: Any) -> None:
        assert self.store.found is not None
        key: ApiKey = replace(self.store.found.key, **changes)
        self.store.found = replace(self.store.found, key=key)


def test_the_documented_example() -> None:
    text = (REPOSITORY / "docs" / "security.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```json\n(\{.*?\n\})\n```", text, re.DOTALL)
    given = json.loads(block)
    digest = hashlib.sha256(given["body"].encode()).hexdigest()
    assert digest == given["body_sha256"]
    signed = text_to_sign(
        given["key_id"], given["timestamp"], given["nonce"], given["target"], digest
    )
    assert signature_of(given["signing_secret"], signed) == given["signature"]


async def test_the_documented_code_signs() -> None:
    text = (REPOSITORY / "docs" / "security.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102
    world = World()
    header = names["authorization"](17, world.secret, CALL.target, CALL.body)
    world.now = int(re.findall(r"Timestamp=([0-9]+)", header)[0])
    assert (await world.server.authenticate(header, CALL)).key_id == 17


async def test_who_signs_gets_in_once() -> None:
    world = World()
    header = world.header()
    principal = await world.server.authenticate(header, CALL)
    assert (principal.key_id, principal.tenant) == (17, "acme")
    assert await world.problem(header) == "replayed"
    await world.server.authenticate(world.header(), CALL)


@pytest.mark.parametrize(
    "call",
    [
        Signed(CALL.target, CALL.body + b" "),
        Signed(CALL.target, b""),
        Signed("POST /v1/embeddings", CALL.body),
        Signed("POST /v1/chat/completions?a=b", CALL.body),
        Signed("/ailb.v1.ChatService/CreateChatCompletion", CALL.body),
    ],
)
async def test_what_was_changed_is_refused_and_uses_nothing_up(call: Signed) -> None:
    world = World()
    assert await world.problem(world.header(), call) == "signature"
    assert world.store.used == {}


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("Key=17", "Key=18", "signature"),
        ("Key=17", "Key=-1", "malformed"),
        ("Key=17", "Key=99999999999999", "malformed"),
        (f"Timestamp={NOW}", f"Timestamp={NOW + 1}", "signature"),
        ("Nonce=", "Nonce=x", "signature"),
        ("Nonce=", "Nonce=%", "malformed"),
        ("Signature=", "Signature=00", "malformed"),
        (", ", "; ", "malformed"),
        ("AILB-HMAC-SHA256 ", "AILB-HMAC-SHA256", "malformed"),
        ("AILB-HMAC-SHA256", "AILB-HMAC-SHA512", "malformed"),
    ],
)
async def test_a_header_that_was_changed(old: str, new: str, problem: str) -> None:
    world = World()
    assert await world.problem(world.header().replace(old, new, 1)) == problem


async def test_another_secret_is_refused() -> None:
    world = World()
    other = authorization(17, "ailbs_" + "0" * 64, CALL.target, CALL.body, now=NOW)
    assert await world.problem(other) == "signature"


@pytest.mark.parametrize("drift", [-301, 301])
async def test_time_is_bounded_both_ways(drift: int) -> None:
    world = World()
    assert await world.problem(world.header(now=NOW + drift)) == "timestamp"
    near = world.header(now=NOW + (drift // 301) * 299)
    await world.server.authenticate(near, CALL)


async def test_what_was_used_is_kept_as_long_as_its_time_is_good() -> None:
    world = World()
    await world.server.authenticate(world.header(now=NOW + 299), CALL)
    (until,) = world.store.used.values()
    world.now = until - 1
    assert await world.problem(world.header(now=NOW + 299)) == "timestamp"


async def test_a_rotated_secret_signs_for_its_grace_period() -> None:
    world = World()
    assert world.store.found is not None
    ((old, _),) = world.store.found.digests
    world.store.found = replace(world.store.found, digests=((b"new", None), (old, NOW + 10)))
    await world.server.authenticate(world.header(), CALL)
    world.now += 11
    assert await world.problem(world.header()) == "expired"


async def test_a_revoked_key_signs_no_more() -> None:
    world = World()
    world.change(revoked_at=1.0)
    assert await world.problem(world.header()) == "revoked"
    wrong = authorization(17, "ailbs_", CALL.target, CALL.body, now=NOW)
    # Who cannot sign is not told what became of the key.
    assert await world.problem(wrong) == "signature"


async def test_a_store_that_is_away_is_no_401() -> None:
    world = World()
    world.store.failure = StorageUnavailableError("away")
    with pytest.raises(StorageUnavailableError):
        await world.server.authenticate(world.header(), CALL)


async def test_checks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.server._checks = 64
    with pytest.raises(OverloadedError):
        await world.server.authenticate(world.header(), CALL)


async def test_large_bodies_are_signed_too() -> None:
    world = World()
    call = Signed(CALL.target, b"x" * (3 << 20))
    await world.server.authenticate(world.header(call), call)


def test_a_signing_secret_is_no_secret_and_leads_to_none() -> None:
    digester = Digester(PEPPER)
    digest = digester.digest(new_secret())
    signing = digester.signing_secret(digest)
    assert not is_secret(signing)
    assert digest.hex() not in signing
    assert Digester(bytes(32)).signing_secret(digest) != signing
