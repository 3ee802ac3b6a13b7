"""What `--set` and `--clear` say."""

import time

import pytest

from ailb.v1 import api_key_pb2
from ailb.v1 import api_key_service_pb2 as pb
from ailb_server.cli.key_terms import cleared, fill, role_number


def test_every_term() -> None:
    request = pb.CreateApiKeyRequest()
    terms = (
        *("model=gpt-*", "model=demo", "collection=docs", "rpm=60", "tpm=1000", "concurrent=4"),
        *("budget=2.5", "expires=2100-01-02", "note.team=a=b", "cache=60"),
    )
    fill(request, terms)
    assert list(request.allowed_models) == ["gpt-*", "demo"]
    assert list(request.allowed_collections) == ["docs"]
    assert request.limits == api_key_pb2.KeyLimits(
        requests_per_minute=60, tokens_per_minute=1000, max_concurrent=4, monthly_budget_usd=2.5
    )
    assert request.expires_at.ToJsonString() == "2100-01-02T00:00:00Z"
    assert dict(request.metadata) == {"team": "a=b"}
    assert request.cache_ttl_seconds == 60


@pytest.mark.parametrize(("text", "seconds"), [("30d", 2_592_000), ("12h", 43_200), ("5m", 300)])
def test_an_end_from_now_on(text: str, seconds: int) -> None:
    request = pb.UpdateApiKeyRequest()
    fill(request, [f"expires={text}"])
    assert abs(request.expires_at.ToSeconds() - time.time() - seconds) < 60


@pytest.mark.parametrize(
    "term",
    ["rpm", "rpm=", "rpm=x", "rpm=-1", "budget=a", "cache=a", "expires=soon", "name=x", "=1"],
)
def test_what_does_not_fit_is_named(term: str) -> None:
    with pytest.raises(ValueError, match=term):
        fill(pb.CreateApiKeyRequest(), [term])


@pytest.mark.parametrize(
    ("term", "told"),
    [("rpm=1_000", "whole number"), ("rpm=5e3", "whole number"), ("budget=a", "US dollars")],
)
def test_what_does_not_fit_is_told_in_words_for_people(term: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        fill(pb.CreateApiKeyRequest(), [term])


def test_roles_and_what_can_be_cleared() -> None:
    assert role_number("module") == api_key_pb2.KEY_ROLE_MODULE
    with pytest.raises(ValueError, match="root"):
        role_number("root")
    assert cleared(["model", "budget"]) == ["allowed_models", "monthly_budget_usd"]
    with pytest.raises(ValueError, match="name"):
        cleared(["name"])
