"""What a key may be, before any store is asked."""

from dataclasses import dataclass, field, replace

import pytest

from ailb_server.access.administration import KeyAdministration
from ailb_server.access.secret import Digester, is_secret
from ailb_server.domain.api_key import ApiKey, KeyQuery, KeyTerms, NewKey, Secret
from ailb_server.domain.audit import Actor
from ailb_server.domain.errors import InvalidRequestError, NotFoundError
from ailb_server.domain.principal import KeyLimits
from tests.unit.access.keys import PEPPER, api_key

ME = Actor("me")
NOW = 1000.0


@dataclass
class FakeRecords:
    """One key, numbered 1."""

    key: ApiKey = field(default_factory=api_key)
    kept: list[Secret] = field(default_factory=list)

    async def create(self, new: NewKey, secret: Secret, by: Actor) -> ApiKey:
        self.kept.append(secret)
        return replace(self.key, terms=new.terms, tenant=new.tenant, role=new.role)

    async def get(self, key_id: int) -> ApiKey | None:
        return self.key if key_id == 1 else None

    async def list(self, query: KeyQuery) -> list[ApiKey]:
        return [self.key]

    async def update(self, key_id: int, change: object, by: Actor) -> ApiKey | None:
        assert callable(change)
        self.key = replace(self.key, terms=change(self.key.terms))
        return await self.get(key_id)

    async def rotate(self, key_id: int, secret: Secret, grace_s: float, by: Actor) -> ApiKey | None:
        self.kept.append(secret)
        return await self.get(key_id)

    async def revoke(self, key_id: int, by: Actor) -> ApiKey | None:
        return await self.get(key_id)


def administration(records: FakeRecords | None = None) -> KeyAdministration:
    return KeyAdministration(records or FakeRecords(), Digester(PEPPER), lambda: NOW)


async def test_only_a_digest_is_kept_of_a_secret() -> None:
    records = FakeRecords()
    key, secret = await administration(records).create(NewKey(KeyTerms("ci"), "acme"), ME)
    assert is_secret(secret)
    (kept,) = records.kept
    assert kept == Digester(PEPPER).kept(secret)
    assert secret.startswith(kept.prefix)
    assert secret not in repr((key, kept))
    _, other = await administration(records).rotate(1, 60, ME)
    assert other != secret


@pytest.mark.parametrize(
    ("terms", "param"),
    [
        (KeyTerms(""), "name"),
        (KeyTerms("  "), "name"),
        (KeyTerms("n" * 129), "name"),
        (KeyTerms("a\nb"), "name"),
        (KeyTerms("n", allowed_models=("",)), "allowed_models"),
        (KeyTerms("n", allowed_models=("[a]",)), "allowed_models"),
        (KeyTerms("n", allowed_models=("m" * 257,)), "allowed_models"),
        (KeyTerms("n", allowed_collections=("c",) * 101), "allowed_collections"),
        (KeyTerms("n", allowed_collections=("a\0",)), "allowed_collections"),
        (KeyTerms("n", limits=KeyLimits(requests_per_minute=0)), "requests_per_minute"),
        (KeyTerms("n", limits=KeyLimits(tokens_per_minute=2**32 - 1)), "tokens_per_minute"),
        (KeyTerms("n", limits=KeyLimits(max_concurrent=-1)), "max_concurrent"),
        (KeyTerms("n", limits=KeyLimits(monthly_budget_micro_dollars=-1)), "monthly_budget_usd"),
        (
            KeyTerms("n", limits=KeyLimits(monthly_budget_micro_dollars=10**16)),
            "monthly_budget_usd",
        ),
        (KeyTerms("n", expires_at=NOW), "expires_at"),
        (KeyTerms("n", metadata={"k" * 65: ""}), "metadata"),
        (KeyTerms("n", metadata={"k": "v" * 513}), "metadata"),
        (KeyTerms("n", metadata={"k": "\0"}), "metadata"),
        (KeyTerms("n", metadata={str(n): "" for n in range(33)}), "metadata"),
    ],
)
async def test_what_a_key_cannot_have_is_named(terms: KeyTerms, param: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        await administration().create(NewKey(terms), ME)
    assert refused.value.facts["param"] == param
    with pytest.raises(InvalidRequestError):
        await administration().update(1, lambda _: terms, ME)


@pytest.mark.parametrize("tenant", ["", "a b", "ä", "t" * 65, "a/b"])
async def test_a_tenants_name_is_plain(tenant: str) -> None:
    with pytest.raises(InvalidRequestError):
        await administration().create(NewKey(KeyTerms("n"), tenant), ME)


async def test_an_expired_key_may_be_changed() -> None:
    records = FakeRecords(replace(api_key(), terms=KeyTerms("ci", expires_at=NOW - 1)))
    key = await administration(records).update(1, lambda terms: replace(terms, name="x"), ME)
    assert key.terms.name == "x"


@pytest.mark.parametrize("number", [2, 2**31, 2**32 - 1])
async def test_what_is_not_there_is_not_found(number: int) -> None:
    keys = administration()
    for call in (
        keys.get(number),
        keys.update(number, lambda terms: terms, ME),
        keys.rotate(number, 0, ME),
        keys.revoke(number, ME),
    ):
        with pytest.raises(NotFoundError):
            await call


@pytest.mark.parametrize("grace_s", [-1, 30 * 86_400 + 1])
async def test_a_grace_is_bounded(grace_s: float) -> None:
    with pytest.raises(InvalidRequestError):
        await administration().rotate(1, grace_s, ME)
