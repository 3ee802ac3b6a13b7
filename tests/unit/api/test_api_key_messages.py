"""API keys as messages, and back."""

import math
from dataclasses import replace

import pytest

from ailb.v1 import api_key_pb2
from ailb.v1 import api_key_service_pb2 as pb
from ailb_server.api.messages.api_key import api_key, key_change, new_key
from ailb_server.domain.api_key import KeyTerms
from ailb_server.domain.errors import InvalidRequestError
from ailb_server.domain.principal import KeyLimits, Role
from tests.unit.access.keys import api_key as some_key

TERMS = KeyTerms(
    "ci", ("gpt-*",), ("docs",), KeyLimits(60, 1000, 4, 1_500_000), 4e9, {"team": "infra"}, 60
)
ALL = (
    *("allowed_models", "allowed_collections", "expires_at", "metadata", "requests_per_minute"),
    *("tokens_per_minute", "max_concurrent", "monthly_budget_usd", "cache_ttl_seconds"),
)


def test_a_new_key_has_what_the_request_says() -> None:
    request = pb.CreateApiKeyRequest(
        name="ci",
        tenant="acme",
        role=api_key_pb2.KEY_ROLE_MODULE,
        allowed_models=["gpt-*"],
        allowed_collections=["docs"],
        limits=api_key_pb2.KeyLimits(
            requests_per_minute=60, tokens_per_minute=1000, max_concurrent=4, monthly_budget_usd=1.5
        ),
        metadata={"team": "infra"},
        cache_ttl_seconds=60,
    )
    request.expires_at.FromSeconds(4_000_000_000)
    new = new_key(request)
    assert (new.terms, new.tenant, new.role) == (TERMS, "acme", Role.MODULE)


def test_a_new_key_is_a_users_of_the_default_tenant() -> None:
    new = new_key(pb.CreateApiKeyRequest(name="ci"))
    assert (new.terms, new.tenant, new.role) == (KeyTerms("ci"), "default", Role.USER)


def test_a_role_that_does_not_exist_is_refused() -> None:
    request = pb.CreateApiKeyRequest(name="ci", role=9)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError):
        new_key(request)


@pytest.mark.parametrize("usd", [-1.0, math.nan, math.inf, 1e300])
def test_a_budget_is_a_number_of_dollars(usd: float) -> None:
    limits = api_key_pb2.KeyLimits(monthly_budget_usd=usd)
    with pytest.raises(InvalidRequestError):
        new_key(pb.CreateApiKeyRequest(name="ci", limits=limits))


@pytest.mark.parametrize("usd", [0.0, 0.1, 0.000001, 123_456_789.123456])
def test_a_budget_is_kept_to_the_millionth(usd: float) -> None:
    limits = api_key_pb2.KeyLimits(monthly_budget_usd=usd)
    terms = new_key(pb.CreateApiKeyRequest(name="ci", limits=limits)).terms
    told = api_key(replace(some_key(), terms=terms)).limits.monthly_budget_usd
    assert told == usd


def test_what_is_not_set_stays() -> None:
    assert key_change(pb.UpdateApiKeyRequest(id=1))(TERMS) == TERMS
    changed = key_change(
        pb.UpdateApiKeyRequest(
            name="x", limits=api_key_pb2.KeyLimits(requests_per_minute=5), allowed_models=["a", "b"]
        )
    )(TERMS)
    assert changed == replace(
        TERMS, name="x", limits=KeyLimits(5, 1000, 4, 1_500_000), allowed_models=("a", "b")
    )


def test_what_is_cleared_is_empty() -> None:
    assert key_change(pb.UpdateApiKeyRequest(clear=ALL))(TERMS) == KeyTerms("ci")
    with pytest.raises(InvalidRequestError):
        key_change(pb.UpdateApiKeyRequest(clear=["name"]))


def test_a_key_is_shown_as_it_is_now() -> None:
    key = replace(some_key(), terms=TERMS, previous_prefix="ailb_before", previous_expires_at=4e9)
    told = api_key(key)
    assert (told.state, told.previous_prefix) == (api_key_pb2.KEY_STATE_ACTIVE, "ailb_before")
    revoked = api_key(replace(key, revoked_at=1.0))
    assert (revoked.state, revoked.previous_prefix) == (api_key_pb2.KEY_STATE_REVOKED, "")
    expired = api_key(replace(key, terms=replace(TERMS, expires_at=1.0)))
    assert expired.state == api_key_pb2.KEY_STATE_EXPIRED
    rotated = api_key(replace(key, previous_expires_at=1.0))
    assert not rotated.HasField("previous_expires_at")
